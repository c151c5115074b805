package backtest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/sojourn-dev/sojourn/controllers/replay"
)

// The remote read of Prometheus hands over chunks as they are stored: a byte and a half for
// a sample, where the answer to a query takes some 25, and native histograms as they are.
// (storage/remote of Prometheus has a client, but brings its service discoveries along.)

const (
	streamedContent = "application/x-streamed-protobuf"
	// mostInFrame is how large one message may be. Prometheus sends a megabyte.
	mostInFrame = 64 << 20
)

// errNotOffered says that there is no remote read here.
func errNotOffered(format string, arguments ...any) error {
	return troubleError{elsewhere: true, text: fmt.Sprintf(format, arguments...)}
}

// readChunks reads a part of the time by remote read.
func (p *Prometheus) readChunks(ctx context.Context, readings []replay.Reading, part replay.Span, into *samples) error {
	asked := prompb.ReadRequest{AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS}}
	for _, reading := range readings {
		query := &prompb.Query{StartTimestampMs: timestamp.FromTime(part.From), EndTimestampMs: timestamp.FromTime(part.Until)}
		for _, matcher := range reading.Matchers {
			query.Matchers = append(query.Matchers, &prompb.LabelMatcher{
				Type: matchTypes[matcher.Type], Name: matcher.Name, Value: matcher.Value,
			})
		}
		asked.Queries = append(asked.Queries, query)
	}
	body, err := asked.Marshal()
	if err != nil {
		return err
	}
	response, err := p.post(ctx, "/api/v1/read", string(snappy.Encode(nil, body)), map[string]string{
		"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Read-Version": "0.1.0",
	})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if content := response.Header.Get("Content-Type"); !strings.HasPrefix(content, streamedContent) {
		return errNotOffered("remote read answers %q", content)
	}
	stream := bufio.NewReaderSize(response.Body, 1<<16)
	var frame []byte
	for {
		if frame, err = nextFrame(stream, frame); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the remote read of Prometheus broke off: %w", err)
		}
		var message prompb.ChunkedReadResponse
		if err := message.Unmarshal(frame); err != nil {
			return fmt.Errorf("the remote read of Prometheus sends what is none: %w", err)
		}
		for _, series := range message.ChunkedSeries {
			if err := into.addChunks(series, part); err != nil {
				return err
			}
		}
	}
}

var matchTypes = map[labels.MatchType]prompb.LabelMatcher_Type{
	labels.MatchEqual: prompb.LabelMatcher_EQ, labels.MatchNotEqual: prompb.LabelMatcher_NEQ,
	labels.MatchRegexp: prompb.LabelMatcher_RE, labels.MatchNotRegexp: prompb.LabelMatcher_NRE,
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// nextFrame reads a length, a checksum and as many bytes, into buffer if it has room.
func nextFrame(from *bufio.Reader, buffer []byte) ([]byte, error) {
	size, err := binary.ReadUvarint(from)
	if err != nil {
		return nil, err
	}
	if size > mostInFrame {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	var sum [4]byte
	if _, err := io.ReadFull(from, sum[:]); err != nil {
		return nil, unexpected(err)
	}
	if uint64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	buffer = buffer[:size]
	if _, err := io.ReadFull(from, buffer); err != nil {
		return nil, unexpected(err)
	}
	if crc32.Checksum(buffer, castagnoli) != binary.BigEndian.Uint32(sum[:]) {
		return nil, errors.New("a message whose checksum is wrong")
	}
	return buffer, nil
}

// unexpected: the end of the stream is one only between messages.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// addChunks takes the samples of chunks, which may reach beyond the part that was asked for.
func (s *samples) addChunks(read *prompb.ChunkedSeries, part replay.Span) error {
	builder := labels.NewScratchBuilder(len(read.Labels))
	for _, label := range read.Labels {
		builder.Add(strings.Clone(label.Name), strings.Clone(label.Value))
	}
	builder.Sort()
	series := s.seriesOf(builder.Labels())
	var reused chunkenc.Iterator
	for _, chunk := range read.Chunks {
		opened, err := chunkenc.FromData(chunkenc.Encoding(chunk.Type), chunk.Data)
		if err != nil {
			return errNotOffered("remote read sends chunks of an unknown kind: %v", err)
		}
		reused = opened.Iterator(reused)
		for kind := reused.Next(); kind != chunkenc.ValNone; kind = reused.Next() {
			switch kind {
			case chunkenc.ValFloat:
				at, v := reused.At()
				err = s.addFloat(series, at, v, part)
			case chunkenc.ValHistogram:
				at, h := reused.AtHistogram(nil)
				err = s.addHistogram(series, at, h, nil, part)
			case chunkenc.ValFloatHistogram:
				at, h := reused.AtFloatHistogram(nil)
				err = s.addHistogram(series, at, nil, h, part)
			}
			if err != nil {
				return err
			}
		}
		if err := reused.Err(); err != nil {
			return fmt.Errorf("the remote read of Prometheus sends a broken chunk: %w", err)
		}
	}
	return nil
}
