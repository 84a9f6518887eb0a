package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// The ports of IoT Hub, which connection strings do not carry.
const (
	DefaultHTTPSPort = 443
	DefaultMQTTPort  = 8883
	DefaultAMQPPort  = 5671
)

// Limits and times of the clients.
const (
	DialTimeout   = 30 * time.Second // one attempt to connect, handshakes included
	MaxReply      = 16 << 20         // bytes of one REST reply
	TokenLifetime = time.Hour        // of the tokens a client signs for itself
)

// Options are common to all clients. The zero value talks to the default ports
// and trusts the authorities of the system.
type Options struct {
	// RootCAs are the authorities to trust; nil means the system's. A cloud
	// with a local authority prints the path of its certificate, see LoadCA.
	RootCAs *x509.CertPool
	// Ports other than the default ones.
	HTTPSPort, MQTTPort, AMQPPort int
	// Address is the host to connect to when it is not the one in the
	// connection string, for gateways and tests. The server's certificate
	// must still name the host of the connection string.
	Address string
	// KeyExchanges are those that TLS offers; nil means all that Go prefers. The
	// post-quantum one costs a small device more than all else of a handshake.
	KeyExchanges []tls.CurveID
	// Product is the user agent, "" for the SDK's own.
	Product string
	// Log hears of reconnects; nil is silent.
	Log *slog.Logger
	// Dial replaces the network, for tests and proxies.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// LoadCA returns a pool with the certificates of a PEM text.
func LoadCA(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in PEM form found")
	}
	return pool, nil
}

const sdkProduct = "causeway-go"

func (o *Options) product() string {
	if o.Product != "" {
		return o.Product
	}
	return sdkProduct
}

func (o *Options) log() *slog.Logger {
	if o.Log != nil {
		return o.Log
	}
	return slog.New(slog.DiscardHandler)
}

// address returns where to connect for host and a port, 0 for the default.
func (o *Options) address(host string, port, def int) string {
	if port == 0 {
		port = def
	}
	if o.Address != "" {
		host = o.Address
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}

func (o *Options) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, network, addr)
	}
	d := net.Dialer{Timeout: DialTimeout}
	return d.DialContext(ctx, network, addr)
}

func (o *Options) tls(host string) *tls.Config {
	return &tls.Config{
		RootCAs: o.RootCAs, ServerName: host, MinVersion: tls.VersionTLS12, CurvePreferences: o.KeyExchanges,
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
}

// splitHost takes a port off the host of a connection string. Azure's have
// none; allowing one makes "HostName=localhost:8443" do what it says for REST.
func splitHost(host string) (name string, port int) {
	h, p, err := net.SplitHostPort(host)
	if err != nil {
		return host, 0
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return host, 0
	}
	return h, int(n)
}
