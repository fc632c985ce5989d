"""Background jobs on Kafka: order per key, retries that block nobody, history that runs again."""
