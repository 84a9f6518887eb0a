package mqtt

import (
	"context"
	"fmt"
	"sync"

	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/plugin"
)

// waiting is the reason of a message that is not acknowledged.
const waiting = -1

// flight is a batch of which not all is acknowledged yet.
type flight struct {
	mu      sync.Mutex
	reasons []int
	left    int
	done    chan struct{}
}

// slot is the place of a message in a flight.
type slot struct {
	f *flight
	i int
}

func (f *flight) settle(i, reason int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reasons[i] = reason
	if f.left--; f.left == 0 {
		close(f.done)
	}
}

// wait waits until the first n messages are acknowledged, and returns an error
// about the first that was not taken.
func (f *flight) wait(ctx context.Context, c *conn, n int) error {
	f.mu.Lock()
	f.left -= len(f.reasons) - n // they are not waited for
	if n < len(f.reasons) && f.reasons[n] != waiting {
		f.left++ // this one was settled already
	}
	if f.left <= 0 {
		f.mu.Unlock()
		return f.outcome(n)
	}
	f.mu.Unlock()
	select {
	case <-f.done:
		return f.outcome(n)
	case <-ctx.Done():
		c.fail(ctx.Err())
		return fmt.Errorf("wait until the broker has acknowledged: %w", ctx.Err())
	case <-c.over:
		return c.why()
	}
}

func (f *flight) outcome(n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.reasons[:n] {
		if !mqtt.Reason(r).Failed() { //nolint:gosec // it was one
			continue
		}
		err := fmt.Errorf("the broker did not take the message: code %#x", r)
		switch mqtt.Reason(r) { //nolint:gosec // it was one
		case mqtt.TopicNameInvalid, mqtt.PacketTooLarge, mqtt.PayloadFormatInvalid, mqtt.MalformedPacket:
			return plugin.RefusedAt(i, err)
		}
		return plugin.Partly(i, err)
	}
	return nil
}
