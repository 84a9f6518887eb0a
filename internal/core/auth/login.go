package auth

import (
	"errors"
	"fmt"
	"strings"
)

// MaxLogin bounds the user name of a [Login], in bytes: two ids, each escaped,
// and a host name fit.
const MaxLogin = 2 << 10

// ErrLogin is wrapped by every error of [ParseLogin].
var ErrLogin = errors.New("user name is of no known form")

// Login is the user name of SASL PLAIN taken apart. It claims who a client is;
// the password is the proof.
type Login struct {
	// Policy is the name of a shared access policy; "" for a device or module.
	Policy string
	// Device and Module are an identity; Module is "" for a device.
	Device, Module string
	// Hub is the hub as the client calls it: its name, or a host. It is "" for
	// a bare policy, whose password is the policy's key (see [EventsKey]); all
	// other passwords are tokens.
	Hub string
}

const (
	policyMark = "sas.root."
	deviceMark = "sas."
	moduleMark = "/modules/"
)

// ParseLogin reads a user name of SASL PLAIN:
//
//	{policy}@sas.root.{hub}             a policy, with a token
//	{device}@sas.{hub}                  a device, with a token
//	{device}/modules/{module}@sas.{hub} a module, with a token
//	{device}@{hub}                      a device, with a token
//	{policy}                            a policy, with its key
//
// Ids may contain an @, hubs may not.
func ParseLogin(user string) (Login, error) {
	if len(user) > MaxLogin {
		return Login{}, fmt.Errorf("%w: %d bytes, at most %d are accepted", ErrLogin, len(user), MaxLogin)
	}
	at := strings.LastIndexByte(user, '@')
	if at < 0 {
		if user == "" || strings.Contains(user, "/") {
			return Login{}, fmt.Errorf("%w: it names no policy", ErrLogin)
		}
		return Login{Policy: user}, nil
	}
	name, hub := user[:at], user[at+1:]
	var l Login
	if rest, ok := strings.CutPrefix(hub, policyMark); ok {
		l = Login{Policy: name, Hub: rest}
		if name == "" || strings.Contains(name, "/") {
			return Login{}, fmt.Errorf("%w: it names no policy", ErrLogin)
		}
	} else {
		rest, _ := strings.CutPrefix(hub, deviceMark)
		device, module, isModule := strings.Cut(name, moduleMark)
		l = Login{Device: device, Module: module, Hub: rest}
		if device == "" || isModule && module == "" || strings.Contains(device+module, "/") {
			return Login{}, fmt.Errorf("%w: it names no device or module", ErrLogin)
		}
	}
	if l.Hub == "" || strings.Contains(l.Hub, "/") {
		return Login{}, fmt.Errorf("%w: it names no hub", ErrLogin)
	}
	return l, nil
}
