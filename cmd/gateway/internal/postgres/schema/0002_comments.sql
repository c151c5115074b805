-- How many of total carried a comment. Those that were erased before this is known cannot be
-- counted any more, nor those that a gateway of the version before takes beside a newer one.
-- Nothing is accepted while this runs.
ALTER TABLE counters ADD COLUMN comments bigint NOT NULL DEFAULT 0;
UPDATE counters SET comments = kept.comments
    FROM (SELECT namespace, touchpoint, instrument, score, count(*) AS comments FROM responses WHERE comment <> '' GROUP BY 1, 2, 3, 4) AS kept
    WHERE counters.segment = '' AND (counters.namespace, counters.touchpoint, counters.instrument, counters.score)
        = (kept.namespace, kept.touchpoint, kept.instrument, kept.score);
UPDATE counters SET comments = kept.comments
    FROM (SELECT namespace, touchpoint, instrument, segment, score, count(*) AS comments FROM responses WHERE comment <> '' AND segment <> '' GROUP BY 1, 2, 3, 4, 5) AS kept
    WHERE (counters.namespace, counters.touchpoint, counters.instrument, counters.segment, counters.score)
        = (kept.namespace, kept.touchpoint, kept.instrument, kept.segment, kept.score);
