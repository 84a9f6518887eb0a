package swtpm

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// What clients ask of the simulator of the reference implementation, TPM 2.0
// part 4 (TpmTcpProtocol.h).
const (
	signalPowerOn = 1
	sendCommand   = 8
	signalNVOn    = 11
	handShake     = 15
	sessionEnd    = 20
	stop          = 21
)

// protocolVersion is that of the simulator.
const protocolVersion = 1

// ServeSimulator serves the TPM in the protocol of the simulator: commands at one
// listener, power and such at the other, by convention at the next port. The TPM
// has power all the time. Both are closed with the TPM.
func (t *TPM) ServeSimulator(commands, platform net.Listener) {
	t.serve(commands)
	t.serve(platform)
}

// serve has every connection of l answered.
func (t *TPM) serve(l net.Listener) {
	t.lists.Lock()
	defer t.lists.Unlock()
	if t.closed {
		_ = l.Close()
		return
	}
	t.listeners = append(t.listeners, l)
	t.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !t.keep(c) {
				return
			}
			t.serving.Go(func() {
				defer t.drop(c)
				for t.answer(c) == nil {
				}
			})
		}
	})
}

// keep notes a connection, or closes it when the TPM is closed.
func (t *TPM) keep(c net.Conn) bool {
	t.lists.Lock()
	defer t.lists.Unlock()
	if t.closed {
		_ = c.Close()
		return false
	}
	t.conns[c] = struct{}{}
	return true
}

func (t *TPM) drop(c net.Conn) {
	t.lists.Lock()
	defer t.lists.Unlock()
	_ = c.Close()
	delete(t.conns, c)
}

// answer reads one request and answers it. An error ends the connection.
func (t *TPM) answer(c io.ReadWriter) error {
	var code [4]byte
	if _, err := io.ReadFull(c, code[:]); err != nil {
		return err
	}
	switch binary.BigEndian.Uint32(code[:]) {
	case handShake:
		var version [4]byte
		if _, err := io.ReadFull(c, version[:]); err != nil {
			return err
		}
		return send(c, protocolVersion, 0, 0) // no properties; it went well
	case signalPowerOn, signalNVOn:
		return send(c, 0)
	case sendCommand:
		return t.pass(c)
	case sessionEnd, stop:
		return io.EOF
	default:
		return fmt.Errorf("request %d is none of the simulator", binary.BigEndian.Uint32(code[:]))
	}
}

// pass passes one command to the TPM and its response back.
func (t *TPM) pass(c io.ReadWriter) error {
	head := make([]byte, 1+4) // locality, size
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size < headerBytes || size > maxMessage {
		return fmt.Errorf("a command of %d bytes", size)
	}
	command := make([]byte, size)
	if _, err := io.ReadFull(c, command); err != nil {
		return err
	}
	response, err := t.Command(command)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(response))) //nolint:gosec // 4096 at most
	b = append(b, response...)
	_, err = c.Write(append(b, 0, 0, 0, 0)) // it went well
	return err
}

func send(w io.Writer, numbers ...uint32) error {
	var b []byte
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	_, err := w.Write(b)
	return err
}
