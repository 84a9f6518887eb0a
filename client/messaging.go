package client

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// MessagingOptions say which hub a Messaging talks to, and how.
type MessagingOptions struct {
	Options
	// ConnectionString is a service's, as of NewService.
	ConnectionString string
	// WebSocket talks AMQP over a WebSocket on the HTTPS port.
	WebSocket bool
}

// Messaging is what a back end says to devices and hears from the hub by AMQP:
// commands, feedback about them, notifications of files that devices have
// uploaded. It connects when it is needed, and reconnects. It is safe for
// concurrent use.
type Messaging struct {
	back *back
	host string
	gate chan struct{} // held while the link for commands is made
	out  *amqp.Sender  // guarded by gate
}

// NewMessaging returns a client for the hub of a service connection string. It
// does not connect yet.
func NewMessaging(o MessagingOptions) (*Messaging, error) {
	t, err := serviceTokens(o.ConnectionString)
	if err != nil {
		return nil, err
	}
	e, _ := o.backEnd(t.hostName, o.WebSocket, hubSocket)
	m := &Messaging{host: e.host, gate: make(chan struct{}, 1)}
	m.back = newBack(&o.Options, e, e.host, t.sign)
	return m, nil
}

// backEnd returns where the back ends of a host are served by AMQP, and the port
// that the host's name had, 0 for none.
func (o *Options) backEnd(hostName string, ws bool, socket string) (e endpoint, port int) {
	host, port := splitHost(hostName)
	e = endpoint{host: host, protocol: amqpSocket, addr: o.address(host, o.AMQPPort, DefaultAMQPPort)}
	if ws {
		at := o.HTTPSPort
		if at == 0 && socket == hubSocket {
			at = port
		}
		e.socket, e.addr = socket, o.address(host, at, DefaultHTTPSPort)
	}
	return e, port
}

// Host returns the host name of the hub.
func (m *Messaging) Host() string { return m.host }

// Close ends the connection.
func (m *Messaging) Close() { m.back.close() }

// SendCommand queues a cloud-to-device message and returns when the hub has it on
// stable storage. When the connection is lost before the answer it is not sent
// again: only the caller knows whether a second one would do harm. Fields used
// are those of Service.SendCommand, and UserID. Codes: DeviceNotFound,
// DeviceMaximumQueueDepthExceeded, MessageTooLarge, ArgumentInvalid.
func (m *Messaging) SendCommand(ctx context.Context, device, module string, msg *causeway.Message) error {
	const op = "send command"
	out, err := m.commands(ctx)
	if err != nil {
		return opError(op, err)
	}
	id := causeway.Identity{Device: device, Module: module}
	st, err := out.Deliver(ctx, amqp.Transfer{Payload: hubamqp.AppendServiceCommand(nil, id, msg)})
	if err != nil {
		return opError(op, err)
	}
	return outcomeError(op, &st)
}

// commands returns the link that commands are sent on.
func (m *Messaging) commands(ctx context.Context) (*amqp.Sender, error) {
	select {
	case m.gate <- struct{}{}:
		defer func() { <-m.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if m.out != nil && m.out.Err() == nil {
		return m.out, nil
	}
	c, err := m.back.open(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Begin(ctx)
	if err != nil {
		return nil, err
	}
	out, err := s.AttachSender(ctx, amqp.LinkConfig{Target: hubamqp.ServiceCommandsAddress}, amqp.SenderOptions{
		Handler: amqp.Outcomes{}, Properties: linkProperties(m.back.o, hubamqp.LinkProperties{}),
	})
	if err != nil {
		_ = s.End(nil) // it may have ended already
		return nil, err
	}
	m.out = out
	return out, nil
}

// serviceProof is how a back end proves itself to a hub.
type serviceProof struct {
	tokens
	hostName string // as in the connection string, perhaps with a port
}

// serviceTokens reads the connection string of a service.
func serviceTokens(connectionString string) (*serviceProof, error) {
	cs, err := sas.ParseConnectionString(connectionString)
	if err != nil {
		return nil, err
	}
	if cs.HostName == "" {
		return nil, errors.New("connection string: HostName is missing")
	}
	name, _ := splitHost(cs.HostName)
	p := &serviceProof{hostName: cs.HostName, tokens: tokens{resource: name, policy: cs.SharedAccessKeyName, ready: cs.SharedAccessSignature}}
	switch {
	case cs.SharedAccessSignature != "":
	case cs.DeviceID != "" && cs.SharedAccessKeyName == "":
		return nil, errors.New("connection string: this is a device's; a service needs SharedAccessKeyName and SharedAccessKey")
	case cs.SharedAccessKeyName == "" || cs.SharedAccessKey == "":
		return nil, errors.New("connection string: SharedAccessKeyName or SharedAccessKey is missing")
	default:
		if p.key, err = base64.StdEncoding.DecodeString(cs.SharedAccessKey); err != nil {
			return nil, errors.New("connection string: SharedAccessKey is not base64")
		}
	}
	return p, nil
}

// sign returns a token and when it ends, never as far as we know for one that was
// given.
func (p *serviceProof) sign() (token string, expires time.Time) {
	if p.ready != "" {
		return p.ready, time.Time{}
	}
	expires = time.Now().Add(TokenLifetime)
	return sas.Sign(p.resource, p.key, p.policy, expires), expires
}
