"""The engine: everything that is Onewrite and nothing that is AWS.

Read it in this order: ``errors``, ``define`` (what users write), ``core`` (pure decisions), ``ports`` (what the
engine needs from outside), ``shell`` (one file per command around the one commit path), ``testing`` (the kit).
"""
