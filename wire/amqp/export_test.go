package amqp

import "time"

// Wind sets what a session and a sender of it count, as if so many deliveries had
// been sent, each in one frame and settled.
func (s *Sender) Wind(n uint64) {
	s.s.c.mu.Lock()
	defer s.s.c.mu.Unlock()
	s.s.nextOutgoing, s.s.delivery, s.count = uint32(n), n, uint32(n)
}

// Counters returns what a connection holds: links, sessions, bytes of messages
// that arrived in part, and bytes that wait to be written.
func (c *Conn) Counters() (links, sessions, partial, waiting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.links, c.sessions.n, c.partial, c.waiting()
}

// Park has the reader parked as if the connection had idled for long.
func (c *Conn) Park() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked.Add(1)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}
