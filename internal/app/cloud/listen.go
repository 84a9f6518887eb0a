package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// Fallback is where HTTPS is served when port 443 may not be bound and the
// caller accepts another one.
const Fallback = ":8443"

// ListenError says which address could not be listened on, why, and what to do.
type ListenError struct {
	What string // HTTPS, MQTT, …
	Flag string // that chooses another address
	Addr string
	Err  error
}

func (e *ListenError) Error() string {
	_, port, _ := net.SplitHostPort(e.Addr)
	s := fmt.Sprintf("cannot listen on %s for %s: ", e.Addr, e.What)
	switch {
	case errors.Is(e.Err, syscall.EACCES) || errors.Is(e.Err, syscall.EPERM):
		return s + fmt.Sprintf("this user may not use port %s. Grant the right with\n  %s\nor choose another address, e.g. %s :8443",
			port, GrantCommand, e.Flag)
	case errors.Is(e.Err, syscall.EADDRINUSE):
		holder := "another process"
		if n, err := net.LookupPort("tcp", port); err == nil {
			if h := state.PortHolder(n); h != "" {
				holder = h
			}
		}
		return s + fmt.Sprintf("port %s is in use by %s. Stop it, or choose another address, e.g. %s :0 for any free port", port, holder, e.Flag)
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return s + fmt.Sprintf("this machine has no such address. Choose another one with %s", e.Flag)
	}
	return s + e.Err.Error()
}

func (e *ListenError) Unwrap() error { return e.Err }

// GrantCommand lets the program bind ports below 1024 without being root.
const GrantCommand = `sudo setcap cap_net_bind_service=+ep "$(command -v causeway)"`

// listeners are the sockets of a cloud. They are opened before anything else
// is touched: a port that is taken must not leave a half-made data directory.
type listeners struct {
	https, mqtt, amqp net.Listener
	fellBack          bool // HTTPS is on Fallback, for want of the right to bind its port
}

func openListeners(ctx context.Context, open ListenFunc, at config.Listen, fallback string) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	l.https, err = listen(ctx, open, "HTTPS", "--https", at.HTTPS)
	if errors.Is(err, syscall.EACCES) && fallback != "" {
		l.https, err = listen(ctx, open, "HTTPS", "--https", fallback)
		l.fellBack = err == nil
	}
	if err != nil {
		return l, err
	}
	if at.MQTT != "" {
		if l.mqtt, err = listen(ctx, open, "MQTT", "--mqtt", at.MQTT); err != nil {
			return l, err
		}
	}
	if at.AMQP != "" {
		l.amqp, err = listen(ctx, open, "AMQP", "--amqp", at.AMQP)
	}
	return l, err
}

// ListenFunc opens a listener as [net.ListenConfig.Listen] does.
type ListenFunc func(ctx context.Context, network, addr string) (net.Listener, error)

func listen(ctx context.Context, open ListenFunc, what, flag, addr string) (net.Listener, error) {
	if open == nil {
		// Keep-alive probes are left to the protocols: MQTT has its own, and
		// every probe wakes an idle connection.
		lc := net.ListenConfig{KeepAlive: -1}
		open = lc.Listen
	}
	l, err := open(ctx, "tcp", addr)
	if err != nil {
		return nil, &ListenError{What: what, Flag: flag, Addr: addr, Err: err}
	}
	return l, nil
}

func (l *listeners) close() {
	for _, x := range []net.Listener{l.https, l.mqtt, l.amqp} {
		if x != nil {
			x.Close()
		}
	}
}

// address is the host at which this machine reaches all listeners: that of the
// interface they are bound to, "" when they are bound to different ones.
func (l *listeners) address() (host string) {
	for _, x := range []net.Listener{l.https, l.mqtt, l.amqp} {
		if x == nil {
			continue
		}
		at := "localhost"
		if a, ok := x.Addr().(*net.TCPAddr); ok && len(a.IP) > 0 && !a.IP.IsUnspecified() && !a.IP.IsLoopback() {
			at = a.IP.String()
		}
		if host != "" && host != at {
			return ""
		}
		host = at
	}
	return host
}

func portOf(l net.Listener) int {
	if l == nil {
		return 0
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
