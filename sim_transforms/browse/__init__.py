"""The page inside a published version: its neighbours, browsed from a bucket or a folder, with no server."""
