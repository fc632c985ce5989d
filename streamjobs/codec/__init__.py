"""Hints to Avro, and bytes to jobs and back; the only importer of fastavro."""
