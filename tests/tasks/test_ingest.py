"""try"""
import time
from tasks.ingest_events import ingest_events
from tasks.ingest_reference import ingest_items, ingest_users

def test_try(installation, shop):
    t=time.time()
    for f in (ingest_items, ingest_users, ingest_events):
        e=f.fn("complete_journey", str(shop.folder)); print(e, time.time()-t)
    print(shop.counts)
    assert {k:e[k] for k in shop.counts}==shop.counts
    print(installation.lake.events().file_uris()[:3])
