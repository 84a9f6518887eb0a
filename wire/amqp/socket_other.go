//go:build !unix

package amqp

import "net"

// socket is for systems where it can be told what has arrived at one.
type socket struct{}

func newSocket(net.Conn) *socket { return nil }

func (*socket) readNow([]byte) (int, error) { return 0, nil }

func (*socket) wait() error { return nil }
