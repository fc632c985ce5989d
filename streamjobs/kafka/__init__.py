"""Clients, topics, schema stores, development brokers; alone imports confluent_kafka."""
