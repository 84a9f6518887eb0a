package amqp

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Config is how connections behave. The zero value of a field means its
// default. Connections share a Config and do not change it.
type Config struct {
	// ContainerID is our name in the open; a random one by default.
	ContainerID string
	// Hostname is the host the open asks for; for Dial.
	Hostname string

	// MaxFrameSize is the largest frame we accept and write, in bytes. Default
	// 64 KiB.
	MaxFrameSize uint32
	// ChannelMax is the highest channel number that we accept. Default 8191.
	ChannelMax uint16
	// Links bounds the links of a connection, of all sessions. Default 8192.
	Links int
	// IncomingWindow is how many transfer frames of a session we take before
	// the peer must wait for a flow. Default 2048.
	IncomingWindow uint32
	// Partial bounds the bytes of messages that have arrived in part, of all
	// links of a connection; see also [Conn.SetPartial]. Default 4 MiB.
	Partial int
	// Burst bounds the messages that are handed over between two calls of
	// Handler.Flush. Default 1024.
	Burst int
	// Outbound bounds the bytes that wait to be written. Who wants to send more
	// waits; the reader, whose answers count too, waits 256 KiB later. Default
	// 256 KiB.
	Outbound int

	// OpenTimeout is how long a peer may take until it has sent its open.
	// Default 60 s.
	OpenTimeout time.Duration
	// IdleTimeout is what our open announces: how long a peer may at most be
	// silent. A connection is closed after twice that. Default 4 min.
	IdleTimeout time.Duration
	// WriteStall is how long one write may take. Default 30 s.
	WriteStall time.Duration
	// CloseTimeout is how long a peer may take to answer our close. Default 2 s.
	CloseTimeout time.Duration

	// Properties, OfferedCapabilities and DesiredCapabilities go into the open.
	Properties          codec.Map
	OfferedCapabilities []string
	DesiredCapabilities []string

	// Mechanisms are what a server offers in a SASL dialogue. Without any such
	// a dialogue is refused. A peer may always do without the dialogue; who
	// does not want that closes the connection in Handler.Open.
	Mechanisms []Mechanism
	// SASL is the client's part; nil does without the dialogue.
	SASL *ClientSASL

	// Log gets what went wrong in a way nobody else hears of: errors of
	// Handler.Attach of which the peer is not told the reason. Default none.
	Log *slog.Logger
}

// withDefaults returns a copy without zero values.
func (c Config) withDefaults() *Config {
	if c.ContainerID == "" {
		var b [12]byte
		_, _ = rand.Read(b[:])
		c.ContainerID = hex.EncodeToString(b[:])
	}
	def(&c.MaxFrameSize, 64<<10)
	c.MaxFrameSize = max(c.MaxFrameSize, codec.MinMaxFrameSize)
	def(&c.ChannelMax, 8191)
	def(&c.Links, 8192)
	def(&c.IncomingWindow, 2048)
	def(&c.Partial, 4<<20)
	def(&c.Burst, 1024)
	def(&c.Outbound, 256<<10)
	def(&c.OpenTimeout, 60*time.Second)
	def(&c.IdleTimeout, 4*time.Minute)
	def(&c.WriteStall, 30*time.Second)
	def(&c.CloseTimeout, 2*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &c
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Prepare returns c with defaults in place of zero values, for [Serve] and
// [Dial]. Many connections may share it.
func Prepare(c Config) *Config { return c.withDefaults() }

// Bounds that are no settings.
const (
	// parkAfter is how long a connection idles before its reader is parked, and
	// parkAgain before it is parked anew: the runtime makes the stacks of new
	// goroutines as large as those it has lately seen in use.
	parkAfter = 5 * time.Second
	parkAgain = 150 * time.Second
	// outgoingWindow is what we announce; it is the peer's window that counts.
	outgoingWindow = 1<<31 - 1
	// mostRefused is how many links above Config.Links are told so, before the
	// session is ended.
	mostRefused = 256
	// leastIdleTimeout is the shortest idle time-out of a peer, in milliseconds,
	// that is kept to.
	leastIdleTimeout = 100
	// maxName is how many bytes the name of a link may have, which is kept as
	// long as the link is.
	maxName = 1 << 10
	// handleMax is the highest handle a peer may choose.
	handleMax = 1<<16 - 1
	// defaultUnsettled bounds the unsettled deliveries of a sender.
	defaultUnsettled = 2048
	// maxSASL bounds the frames of a SASL dialogue, and their number.
	maxSASLFrame = 8 << 10
	maxSASLSteps = 8
)
