package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Limits of one stream. A reader holds at most one batch, so that a stream
// holds about batchBytes for each partition, however slow its client is.
const (
	firstBatch   = 8
	maxBatch     = 256
	batchBytes   = 1 << 20
	writeTimeout = 30 * time.Second // for the client to take one line
)

// filter says which events a stream shows. Empty members want all.
type filter struct{ device, module string }

func (f filter) wants(id causeway.Identity) bool {
	return (f.device == "" || f.device == id.Device) && (f.module == "" || f.module == id.Module)
}

// stream shows the events of a log to one client.
type stream struct {
	log       eventlog.Log
	next      map[eventlog.Partition]eventlog.Offset // what to read next
	filter    filter
	max       int // events shown; 0 is without end
	heartbeat time.Duration
	expires   time.Time // when the right to read ends; zero is never
	stop      <-chan struct{}
	out       *lineWriter
}

// batch is what a reader hands over.
type batch struct {
	partition eventlog.Partition
	recs      []eventlog.Record
	from      eventlog.Offset // of a gap: what was wanted
	oldest    eventlog.Offset // of a gap: what there is
	err       error           // the reader ends
}

// run writes lines until the client goes, max is reached, the right to read
// ends, or the server stops. All but the first are told to the client in a last
// line.
func (st *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	batches := make(chan batch)
	for p, from := range st.next {
		readers.Go(func() { read(ctx, st.log, p, from, batches) })
	}
	beat := time.NewTicker(st.heartbeat)
	defer beat.Stop()
	var expired <-chan time.Time
	if !st.expires.IsZero() {
		t := time.NewTimer(time.Until(st.expires))
		defer t.Stop()
		expired = t.C
	}
	shown := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-st.stop:
			return st.end("the server is shutting down")
		case <-expired:
			return st.end("the token has expired")
		case now := <-beat.C:
			if err := st.out.write(eventLine{Type: lineHeartbeat, Time: timeText(now)}, ""); err != nil {
				return err
			}
		case b := <-batches:
			if b.err != nil {
				return errors.Join(fmt.Errorf("read partition %d: %w", b.partition, b.err), st.end("the event log cannot be read"))
			}
			n, err := st.show(b, shown)
			if err != nil {
				return err
			}
			if shown += n; st.max > 0 && shown >= st.max {
				return st.end("the wanted number of events was shown")
			}
			beat.Reset(st.heartbeat)
		}
		if err := st.out.flush(); err != nil {
			return err
		}
	}
}

// show writes the lines of a batch and returns how many events there were.
func (st *stream) show(b batch, shown int) (n int, err error) {
	if b.recs == nil {
		partition, oldest := int(b.partition), int64(b.oldest)
		st.next[b.partition] = b.oldest
		return 0, st.out.write(eventLine{
			Type: lineGap, Partition: &partition, Offset: &oldest,
			Message: fmt.Sprintf("events from %d to %d are no longer held", b.from, b.oldest-1),
		}, st.positions())
	}
	for _, r := range b.recs {
		st.next[b.partition] = r.Offset + 1
		l, ok := newEventLine(b.partition, r, st.filter)
		if !ok {
			continue
		}
		if err := st.out.write(l, st.positions()); err != nil {
			return n, err
		}
		if l.Type == lineEvent {
			n++
		}
		if st.max > 0 && shown+n >= st.max {
			break
		}
	}
	return n, nil
}

// end writes the last line.
func (st *stream) end(why string) error {
	if err := st.out.write(eventLine{Type: lineEnd, Message: why}, ""); err != nil {
		return err
	}
	return st.out.flush()
}

// positions returns what to read next as the parameter from reads it.
func (st *stream) positions() string {
	if !st.out.sse {
		return ""
	}
	var b strings.Builder
	for p := range eventlog.Partition(st.log.Partitions()) {
		if o, ok := st.next[p]; ok {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.Itoa(int(p)))
			b.WriteByte(':')
			b.WriteString(strconv.FormatInt(int64(o), 10))
		}
	}
	return b.String()
}

// read hands over what is in a partition from an offset on, until ctx ends or
// the log fails. It waits for each batch to be taken before it reads the next.
func read(ctx context.Context, log eventlog.Log, p eventlog.Partition, from eventlog.Offset, out chan<- batch) {
	n := firstBatch
	for {
		b := batch{partition: p}
		b.recs, b.err = log.Read(ctx, p, from, n)
		if t, ok := errors.AsType[*eventlog.TrimmedError](b.err); ok && t.Oldest > from {
			b.err, b.recs, b.from, b.oldest = nil, nil, from, t.Oldest
			from = t.Oldest
		} else if b.err == nil {
			from = b.recs[len(b.recs)-1].Offset + 1
			n = nextBatch(b.recs)
		}
		select {
		case out <- b:
		case <-ctx.Done():
			return
		}
		if b.err != nil {
			return
		}
	}
}

// nextBatch returns how many records to read next, so that a batch of records
// like the largest of the last one has about batchBytes.
func nextBatch(recs []eventlog.Record) int {
	largest := 1
	for _, r := range recs {
		largest = max(largest, len(r.Payload))
	}
	return min(max(batchBytes/largest, 1), maxBatch)
}

// lineWriter writes lines as NDJSON or as server-sent events.
type lineWriter struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	sse bool
}

// write sends one line. id is where a client that comes back goes on; only
// server-sent events carry it. A client that does not take the line in time is
// given up.
func (lw *lineWriter) write(l eventLine, id string) error {
	text, err := hubjson.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	_ = lw.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // where there are deadlines
	if !lw.sse {
		_, err = lw.w.Write(append(text, '\n'))
		return err
	}
	buf := make([]byte, 0, len(text)+len(id)+64)
	if id != "" {
		buf = append(append(append(buf, "id: "...), id...), '\n')
	}
	buf = append(append(append(buf, "event: "...), l.Type...), "\ndata: "...)
	buf = append(append(buf, text...), "\n\n"...)
	_, err = lw.w.Write(buf)
	return err
}

func (lw *lineWriter) flush() error { return lw.rc.Flush() }
