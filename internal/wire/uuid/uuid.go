// Package uuid makes the random identifiers of deliveries, calls and messages.
package uuid

import (
	"crypto/rand"
	"encoding/hex"
)

// New returns a random UUID, version 4 (RFC 9562 §5.4).
func New() (u [16]byte) {
	_, _ = rand.Read(u[:]) // never fails, see crypto/rand
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// Text returns u as 8-4-4-4-12 hexadecimal digits in lower case.
func Text(u [16]byte) string {
	b := make([]byte, 0, 36)
	for _, part := range [...][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if len(b) > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}
