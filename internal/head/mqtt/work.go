package mqtt

import (
	"sync"

	"github.com/causeway-iot/causeway"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// readBuffer is the size of the read buffer a burst begins with. For packets
// that do not fit it is exchanged for a larger one, step by step.
const readBuffer = 32 << 10

// sizes are the sizes of read buffers. The last one takes the largest packet.
var sizes = [...]int{readBuffer, 64 << 10, 128 << 10, 264 << 10, 328 << 10}

// buffers holds idle read buffers by size.
var buffers [len(sizes)]sync.Pool

// getBuffer returns a buffer of at least n bytes.
func getBuffer(n int) []byte {
	for i, size := range sizes {
		if n <= size {
			if b, ok := buffers[i].Get().(*[]byte); ok {
				return *b
			}
			return make([]byte, size)
		}
	}
	return make([]byte, n)
}

func putBuffer(b []byte) {
	for i, size := range sizes {
		if len(b) == size {
			kept := b // only this escapes, and only here
			buffers[i].Put(&kept)
		}
	}
}

// work is what a reader needs while there is something to do: it is borrowed
// when bytes arrive and returned when all are dealt with.
type work struct {
	buf  []byte // what has been read is buf[:fill]
	fill int
	pub  wire.Publish

	// The batch: messages, which borrow buf and text, and what to acknowledge
	// when they are durable.
	msgs  []causeway.Message
	props [][]causeway.Property // the property slices of msgs by index
	text  []byte                // decoded text of topics
	acks  []ack
	bytes int // sum of bodies

	twins []twinRequest // to start after the acknowledgements are written
	out   []byte        // replies
}

// ack is a PUBACK that is due when the first after messages of the batch are
// durable.
type ack struct {
	id    uint16
	after int
}

// works holds idle *work.
var works = sync.Pool{New: func() any { return &work{buf: getBuffer(readBuffer)} }}

// release returns w to the pool, without what only a large packet needed.
func (w *work) release() {
	if len(w.buf) != readBuffer {
		putBuffer(w.buf)
		w.buf = getBuffer(readBuffer)
		clear(w.msgs[:cap(w.msgs)]) // do not hold on to the large one
		w.props = nil
	}
	if cap(w.text) > readBuffer {
		w.text = nil
	}
	if cap(w.out) > readBuffer {
		w.out = nil
	}
	w.pub = wire.Publish{}
	w.fill = 0
	w.reset()
	// What a connection that ended has not begun is not for the next one to do.
	clear(w.twins)
	w.twins = w.twins[:0]
	w.out = w.out[:0]
	works.Put(w)
}

// reset forgets the batch.
func (w *work) reset() {
	w.msgs, w.acks, w.text, w.bytes = w.msgs[:0], w.acks[:0], w.text[:0], 0
}

// add appends an empty message whose properties have memory of their own.
func (w *work) add() *causeway.Message {
	i := len(w.msgs)
	if i == len(w.props) {
		w.props = append(w.props, nil)
	}
	w.msgs = append(w.msgs, causeway.Message{})
	m := &w.msgs[i]
	m.Properties = w.props[i][:0]
	return m
}

// drop removes the message last added.
func (w *work) drop() { w.msgs = w.msgs[:len(w.msgs)-1] }

// keep remembers the property slice of the message last added, which may have
// grown.
func (w *work) keep() {
	i := len(w.msgs) - 1
	w.props[i] = w.msgs[i].Properties[:0]
}

// consume moves the bytes from pos on to the front and makes room for need. The
// batch must be empty, since it borrows the buffer.
func (w *work) consume(pos, need int) {
	rest := w.fill - pos
	if need > len(w.buf) {
		// The next size, not what the packet claims to need: that is only taken
		// when the bytes have come.
		grown := getBuffer(min(need, max(rest, len(w.buf))+1))
		w.fill = copy(grown, w.buf[pos:w.fill])
		putBuffer(w.buf)
		w.buf = grown
		return
	}
	if pos > 0 {
		w.fill = copy(w.buf, w.buf[pos:w.fill])
	}
}
