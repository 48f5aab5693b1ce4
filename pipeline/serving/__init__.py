"""The online door without its engine: what may be asked, what waits, what is scored together, what is answered.

Nothing here imports Ray: `pipeline.online` runs these parts on it. Nothing here opens Kafka.
"""
