"""The pure core: order, tiers, watermarks. No I/O, no threads, no clock, no Kafka."""
