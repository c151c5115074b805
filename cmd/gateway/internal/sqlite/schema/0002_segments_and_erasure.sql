-- What later versions know of a response. submission is the source's id of the form
-- that the response came in, where that is not the response's own.
ALTER TABLE responses ADD COLUMN segment    TEXT NOT NULL DEFAULT '';
ALTER TABLE responses ADD COLUMN channel    TEXT NOT NULL DEFAULT '';
ALTER TABLE responses ADD COLUMN subject    TEXT NOT NULL DEFAULT '';
ALTER TABLE responses ADD COLUMN submission TEXT NOT NULL DEFAULT '';

-- Only those rows are in these indexes that have what they find.
CREATE INDEX responses_by_submission ON responses (namespace, submission) WHERE submission <> '';
CREATE INDEX responses_by_subject    ON responses (namespace, subject)    WHERE subject <> '';
CREATE INDEX responses_with_comment  ON responses (namespace, touchpoint, seq) WHERE comment <> '';

-- Responses of a segment are counted twice: in the counter of the segment, and in
-- that of all, whose segment is ''. erased is how many of total are no longer among
-- the responses: total = responses + erased, always.
CREATE TABLE counters_by_segment (
    namespace  TEXT    NOT NULL,
    touchpoint TEXT    NOT NULL,
    instrument TEXT    NOT NULL,
    segment    TEXT    NOT NULL,
    score      INTEGER NOT NULL,
    total      INTEGER NOT NULL,
    erased     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace, touchpoint, instrument, segment, score)
) STRICT, WITHOUT ROWID;
INSERT INTO counters_by_segment (namespace, touchpoint, instrument, segment, score, total)
    SELECT namespace, touchpoint, instrument, '', score, total FROM counters;
DROP TABLE counters;
ALTER TABLE counters_by_segment RENAME TO counters;

-- Hashes of the ids of responses that were erased: sent again, they are known.
CREATE TABLE erased (
    key BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
