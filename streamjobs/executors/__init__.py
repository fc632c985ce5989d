"""Where handlers run. Executors run attempts and hand them back, and decide nothing."""
