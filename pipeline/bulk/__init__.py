"""What a backfill is made of, without its engine: what there is to read, how it is cut, what is written where.

Nothing here imports Ray: `pipeline.backfill` runs these parts on it.
"""
