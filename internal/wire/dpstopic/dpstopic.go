// Package dpstopic is the grammar of the provisioning service's MQTT, in both
// directions: the user name of CONNECT, the topics on which a device asks, and the
// topic of the answers.
//
// It knows text only. Answers are written in the one form that all clients can
// read; they take topics apart in odd ways, see [AppendAnswer].
package dpstopic

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// Filter is what a device subscribes to for the answers.
const Filter = answer + "#"

// The fixed parts of topics. All comparisons are case-sensitive.
const (
	register = "$dps/registrations/PUT/iotdps-register/"
	lookup   = "$dps/registrations/GET/iotdps-get-operationstatus/"
	answer   = "$dps/registrations/res/"
)

// Request is the topic of a device's request, taken apart.
type Request struct {
	Register  bool   // else it asks for an operation
	RID       string // request id as sent, to be echoed unchanged; borrowed
	Operation string // decoded, "" when it is left out; borrowed unless it was decoded
}

// ParseRequest reads the topic of a PUBLISH sent by a device:
//
//	$dps/registrations/PUT/iotdps-register/?$rid={rid}
//	$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={id}
//
// Parameters may come in any order, the first of equal ones wins, and unknown ones
// are ignored. Strings in the result point into name. Errors wrap topic.ErrUnknown
// or topic.ErrMalformed.
func ParseRequest(name string) (Request, error) {
	var r Request
	query, ok := strings.CutPrefix(name, register)
	if ok {
		r.Register = true
	} else if query, ok = strings.CutPrefix(name, lookup); !ok {
		return Request{}, fmt.Errorf("%w: %s", topic.ErrUnknown, quote(name))
	}
	if query, ok = strings.CutPrefix(query, "?"); !ok {
		return Request{}, fmt.Errorf("%w: %s has no query ?$rid=…", topic.ErrMalformed, quote(name))
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		switch {
		case r.RID == "" && (key == "$rid" || key == "%24rid"):
			r.RID = value
		case r.Operation == "" && key == "operationId":
			r.Operation = percent.Unescape(value)
		}
	}
	switch {
	case r.RID == "":
		return Request{}, fmt.Errorf("%w: %s has no $rid", topic.ErrMalformed, quote(name))
	case len(r.RID) > topic.MaxRequestID:
		return Request{}, fmt.Errorf("%w: $rid of %d bytes, at most %d are accepted", topic.ErrMalformed, len(r.RID), topic.MaxRequestID)
	}
	return r, nil
}

// AppendRequest appends the topic of a request.
func AppendRequest(dst []byte, r Request) []byte {
	if r.Register {
		dst = append(dst, register...)
	} else {
		dst = append(dst, lookup...)
	}
	dst = append(append(dst, "?$rid="...), r.RID...)
	if r.Operation != "" {
		dst = percent.AppendEscape(append(dst, "&operationId="...), r.Operation)
	}
	return dst
}

// AppendAnswer appends the topic of an answer. There is no retry-after when it is
// 0; a part of a second counts as a whole one.
//
// Nothing may be added to it, and nothing moved: the Python client splits it at '$'
// and wants one more than the first, right after the '?', and a '=' in each
// parameter; the one for Java does not find a retry-after that comes first; that
// for Node wants "/?".
func AppendAnswer(dst []byte, status int, rid string, retryAfter time.Duration) []byte {
	dst = strconv.AppendInt(append(dst, answer...), int64(status), 10)
	dst = append(append(dst, "/?$rid="...), rid...)
	if retryAfter > 0 {
		seconds := (retryAfter + time.Second - 1) / time.Second
		dst = strconv.AppendInt(append(dst, "&retry-after="...), int64(seconds), 10)
	}
	return dst
}

// Answer is the topic of an answer, taken apart.
type Answer struct {
	Status     int    // of HTTP
	RID        string // borrowed
	RetryAfter time.Duration
}

// ParseAnswer reads what AppendAnswer writes, with parameters in any order.
// Errors wrap topic.ErrUnknown or topic.ErrMalformed.
func ParseAnswer(name string) (Answer, error) {
	rest, ok := strings.CutPrefix(name, answer)
	if !ok {
		return Answer{}, fmt.Errorf("%w: %s", topic.ErrUnknown, quote(name))
	}
	status, query, ok := strings.Cut(rest, "/?")
	n, err := strconv.ParseUint(status, 10, 16)
	if !ok || err != nil {
		return Answer{}, fmt.Errorf("%w: %s is not …/{status}/?$rid=…", topic.ErrMalformed, quote(name))
	}
	a := Answer{Status: int(n)}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "$rid":
			a.RID = value
		case "retry-after":
			s, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return Answer{}, fmt.Errorf("%w: retry-after %s is no number of seconds", topic.ErrMalformed, quote(value))
			}
			a.RetryAfter = time.Duration(s) * time.Second
		}
	}
	if a.RID == "" {
		return Answer{}, fmt.Errorf("%w: %s has no $rid", topic.ErrMalformed, quote(name))
	}
	return a, nil
}

// quote returns the beginning of s in a form fit for a log, in memory of its own.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
