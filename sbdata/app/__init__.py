"""Browse a set in the FiftyOne app (extra ``app``)."""
