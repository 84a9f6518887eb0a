package accept

import "net"

// CloseNow closes nc without saying good-bye, which might wait for the peer.
func CloseNow(nc net.Conn) error {
	switch c := nc.(type) {
	case interface{ CloseNow() error }:
		return c.CloseNow()
	case interface{ NetConn() net.Conn }: // of crypto/tls
		return c.NetConn().Close()
	}
	return nc.Close()
}
