package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// The reasons of dead letters.
const (
	ReasonFull    = "queueFull"   // the queue had no room
	ReasonBroken  = "queueFailed" // the queue could not store it
	ReasonExpired = "expired"     // it waited for longer than it may
	ReasonRefused = "refused"     // the endpoint does not want it
)

// cursorPrefix begins the names of the positions up to which the dead letters of
// an endpoint were dealt with.
const cursorPrefix = "dead-letters/"

// Log is a log with cursors: what a queue is made of.
type Log interface {
	eventlog.Log
	eventlog.Cursors
}

// DeadLetter is a message that an endpoint did not get.
type DeadLetter struct {
	Offset   int64 // its place among the dead letters of the hub
	Endpoint string
	Reason   string // ReasonFull, …
	Detail   string // what the endpoint said
	Attempts int    // to send it, of those that failed in the end
	Died     time.Time
	Message  causeway.Message
}

// deadLetters is the log of the dead letters of a hub. Its retention bounds it.
type deadLetters struct {
	hub string
	log Log
	out *slog.Logger

	mu   sync.Mutex // held by changes of positions
	done map[string]eventlog.Offset
}

// scanBatch is how many dead letters are read at once.
const scanBatch = 256

// add stores messages of an endpoint as dead letters, durably.
func (d *deadLetters) add(ctx context.Context, o obituary, msgs ...*causeway.Message) error {
	recs := make([]eventlog.Record, len(msgs))
	for i, m := range msgs {
		recs[i].Payload = appendDead(nil, o, m)
	}
	if _, err := d.log.Append(ctx, 0, recs...); err != nil {
		return fmt.Errorf("store %d dead letters of endpoint %s: %w", len(msgs), o.endpoint, err)
	}
	return nil
}

// position returns the offset up to which the dead letters of an endpoint were
// replayed or purged. The caller holds mu.
func (d *deadLetters) position(ctx context.Context, endpoint string) (eventlog.Offset, error) {
	endpoint = strings.ToLower(endpoint)
	if at, ok := d.done[endpoint]; ok {
		return at, nil
	}
	at, _, err := d.log.Committed(ctx, cursorPrefix+endpoint, 0)
	if err != nil {
		return 0, fmt.Errorf("look up position of dead letters: %w", err)
	}
	d.done[endpoint] = at
	return at, nil
}

// move stores that the dead letters of an endpoint before an offset were dealt
// with.
func (d *deadLetters) move(ctx context.Context, endpoint string, to eventlog.Offset) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, err := d.position(ctx, endpoint)
	if err != nil || to <= at {
		return err
	}
	endpoint = strings.ToLower(endpoint)
	if err := d.log.Commit(ctx, cursorPrefix+endpoint, 0, to); err != nil {
		return fmt.Errorf("store position of dead letters: %w", err)
	}
	d.done[endpoint] = to
	return nil
}

// pending reports whether a dead letter was not dealt with yet.
func (d *deadLetters) pending(ctx context.Context, endpoint string, at eventlog.Offset) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	done, err := d.position(ctx, endpoint)
	return at >= done, err
}

// each calls f with the pending dead letters of an endpoint, or of all, from an
// offset on, until f returns false or there are no more. It returns the offset
// after the last it looked at.
func (d *deadLetters) each(ctx context.Context, endpoint string, from eventlog.Offset, f func(DeadLetter) (bool, error)) (eventlog.Offset, error) {
	oldest, end, err := d.log.Bounds(ctx, 0)
	if err != nil {
		return from, err
	}
	for at := max(from, oldest); ; {
		if at >= end {
			return at, nil
		}
		recs, err := d.log.Read(ctx, 0, at, scanBatch)
		if trimmed, ok := errors.AsType[*eventlog.TrimmedError](err); ok {
			at = max(at, trimmed.Oldest)
			continue
		}
		if err != nil {
			return at, fmt.Errorf("read dead letters: %w", err)
		}
		for _, r := range recs {
			if r.Offset >= end {
				return end, nil
			}
			at = r.Offset + 1
			o, m, err := decodeDead(d.hub, r.Payload)
			if err != nil {
				d.out.Error("a dead letter cannot be read and is left out", obs.KeyHub, d.hub, obs.KeyOffset, int64(r.Offset), obs.KeyError, err)
				continue
			}
			if endpoint != "" && !strings.EqualFold(o.endpoint, endpoint) {
				continue
			}
			if ok, err := d.pending(ctx, o.endpoint, r.Offset); err != nil {
				return at, err
			} else if !ok {
				continue
			}
			more, err := f(DeadLetter{
				Offset: int64(r.Offset), Endpoint: o.endpoint, Reason: o.reason, Detail: o.detail,
				Attempts: o.attempts, Died: r.Time, Message: m,
			})
			if err != nil {
				return r.Offset, err
			}
			if !more {
				return at, nil
			}
		}
	}
}

// list returns up to limit dead letters from an offset on, and the offset to go
// on from; last is set when there are no more.
func (d *deadLetters) list(ctx context.Context, endpoint string, from int64, limit int) (page []DeadLetter, next int64, last bool, err error) {
	at, err := d.each(ctx, endpoint, eventlog.Offset(max(from, 0)), func(l DeadLetter) (bool, error) {
		page = append(page, l)
		return len(page) < limit, nil
	})
	return page, int64(at), len(page) < limit, err
}
