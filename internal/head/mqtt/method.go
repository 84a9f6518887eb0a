package mqtt

import (
	"context"
	"strconv"
	"unsafe"

	"github.com/causeway-iot/causeway"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// Invoke calls a direct method and waits for the answer: part of
// causeway.Device.
func (c *conn) Invoke(ctx context.Context, call causeway.Call) (causeway.Result, error) {
	const op = "head/mqtt.Invoke"
	var none causeway.Result
	if _, ok := c.wants(causeway.LaneMethods, call.Method); !ok {
		return none, causeway.Errorf(causeway.DeviceNotOnline, op, "the device does not subscribe to method %q", call.Method)
	}
	rid, answer, err := c.newCall()
	if err != nil {
		return none, err
	}
	defer c.dropCall(rid)
	payload := call.Payload
	if len(payload) == 0 {
		payload = []byte("null")
	}
	name := topic.AppendMethodRequest(nil, call.Method, rid)
	if err := c.send(ctx, &wire.Publish{Payload: payload}, name); err != nil {
		return none, err
	}
	select {
	case r, ok := <-answer:
		if !ok {
			return none, errGone()
		}
		return r, nil // what is in it is for the hub to judge
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// newCall makes a request id that is unique on the connection, and the channel
// for its answer, which is closed instead when the connection ends.
func (c *conn) newCall() (rid string, answer <-chan causeway.Result, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return "", nil, errGone()
	}
	if len(c.calls) >= causeway.MaxInflightMethods {
		return "", nil, causeway.Errorf(causeway.DeviceMaximumInflightMethodExceeded, "head/mqtt.Invoke",
			"%d methods are under way on the device already", len(c.calls))
	}
	if c.calls == nil {
		c.calls = make(map[string]chan<- causeway.Result, 1)
	}
	c.nextCall++
	rid = strconv.FormatUint(uint64(c.nextCall), 16)
	ch := make(chan causeway.Result, 1)
	c.calls[rid] = ch
	return rid, ch, nil
}

// dropCall forgets a call; an answer that comes later is ignored.
func (c *conn) dropCall(rid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, rid)
	if len(c.calls) == 0 {
		c.calls = nil
	}
}

// respond passes the client's answer on, if somebody still waits for it. The
// arguments are borrowed.
func (c *conn) respond(rid string, status int, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.calls[rid]; ok {
		delete(c.calls, rid) // a second answer is ignored
		// What is larger is refused by its size alone, whatever it says.
		payload = payload[:min(len(payload), causeway.MaxMethodPayload+1)]
		ch <- causeway.Result{Status: status, Payload: append([]byte(nil), payload...)}
	}
}

// failCalls tells all callers that the connection ended. The mutex is held.
func (c *conn) failCalls() {
	for _, ch := range c.calls {
		close(ch)
	}
	c.calls = nil
}

// view returns b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
