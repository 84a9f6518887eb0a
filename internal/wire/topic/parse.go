package topic

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/causeway-iot/causeway"
)

// The fixed parts of topics. All comparisons are case-sensitive.
const (
	devices  = "devices/"
	modules  = "/modules/"
	events   = "messages/events"
	commands = "messages/devicebound"
	inputs   = "inputs/"

	methodRequest  = "$iothub/methods/POST/"
	methodResponse = "$iothub/methods/res/"
	twinGet        = "$iothub/twin/GET/"
	twinReported   = "$iothub/twin/PATCH/properties/reported/"
	twinDesired    = "$iothub/twin/PATCH/properties/desired/"
	twinResponse   = "$iothub/twin/res/"
)

func parsePublish(topic string, id causeway.Identity, m *causeway.Message, scratch []byte) (Publish, []byte, error) {
	switch {
	case strings.HasPrefix(topic, devices):
		rest, own := cutIdentity(topic, id)
		if !own {
			return Publish{}, scratch, foreignOr(topic, events)
		}
		bag, ok := cutBag(rest, events)
		if !ok {
			return Publish{}, scratch, unknown(topic)
		}
		scratch, err := parseBag(bag, m, scratch)
		m.From = causeway.Identity{} // $.cdid and $.cmid of a client are not to be believed
		return Publish{Kind: Telemetry}, scratch, err

	case strings.HasPrefix(topic, methodResponse):
		p, err := parseResponse(MethodResponse, topic[len(methodResponse):])
		return p, scratch, err
	case strings.HasPrefix(topic, twinGet):
		p, err := parseRequest(TwinGet, topic[len(twinGet):])
		p.Version = 0
		return p, scratch, err
	case strings.HasPrefix(topic, twinReported):
		// Without a $rid, or any query, the client wants no answer.
		p := Publish{Kind: TwinPatch}
		var err error
		if query := topic[len(twinReported):]; query != "" {
			err = parseQuery(&p, query)
		}
		return p, scratch, err
	}
	return Publish{}, scratch, unknown(topic)
}

func parseDelivery(topic string, id causeway.Identity, m *causeway.Message, scratch []byte) (Publish, []byte, error) {
	switch {
	case strings.HasPrefix(topic, devices):
		rest, own := cutIdentity(topic, id)
		if !own {
			return Publish{}, scratch, foreignOr(topic, commands, inputs)
		}
		if bag, ok := cutBag(rest, commands); ok {
			scratch, err := parseBag(bag, m, scratch)
			return Publish{Kind: Command}, scratch, err
		}
		if name, ok := strings.CutPrefix(rest, inputs); ok && id.IsModule() && name != "" {
			name, bag, _ := strings.Cut(name, "/")
			scratch, err := parseBag(bag, m, scratch)
			p := Publish{Kind: Input}
			p.Name, scratch = unescape(name, scratch)
			m.Input = p.Name
			return p, scratch, err
		}

	case strings.HasPrefix(topic, methodRequest):
		name, query, ok := strings.Cut(topic[len(methodRequest):], "/")
		if !ok || name == "" {
			return Publish{}, scratch, fmt.Errorf("%w: method request without a name and a query", ErrMalformed)
		}
		p, err := parseRequest(MethodRequest, query)
		p.Version = 0
		p.Name, scratch = unescape(name, scratch)
		return p, scratch, err
	case strings.HasPrefix(topic, twinResponse):
		p, err := parseResponse(TwinResponse, topic[len(twinResponse):])
		return p, scratch, err
	case strings.HasPrefix(topic, twinDesired):
		p := Publish{Kind: Desired}
		err := parseQuery(&p, topic[len(twinDesired):])
		if err == nil && p.Version == 0 {
			err = fmt.Errorf("%w: desired notification without $version", ErrMalformed)
		}
		return p, scratch, err
	}
	return Publish{}, scratch, unknown(topic)
}

// cutIdentity removes "devices/{d}/" or "devices/{d}/modules/{m}/" of id from
// the front of topic. A topic of a device's module is not the device's own.
func cutIdentity(topic string, id causeway.Identity) (rest string, own bool) {
	rest, ok := strings.CutPrefix(topic, devices)
	if !ok {
		return "", false
	}
	if rest, ok = strings.CutPrefix(rest, id.Device); !ok {
		return "", false
	}
	if id.Module != "" {
		if rest, ok = strings.CutPrefix(rest, modules); !ok {
			return "", false
		}
		if rest, ok = strings.CutPrefix(rest, id.Module); !ok {
			return "", false
		}
	}
	rest, own = strings.CutPrefix(rest, "/")
	return rest, own && (id.Module != "" || !strings.HasPrefix(rest, modules[1:]))
}

// cutBag removes name, and the slash between it and the bag, from the front.
func cutBag(rest, name string) (bag string, ok bool) {
	rest, ok = strings.CutPrefix(rest, name)
	if !ok || rest == "" {
		return "", ok
	}
	return strings.CutPrefix(rest, "/")
}

// foreignOr returns ErrForeign when topic has the shape of one of names for some
// device or module, ErrUnknown otherwise.
func foreignOr(topic string, names ...string) error {
	_, rest, _ := strings.Cut(topic[len(devices):], "/")
	if after, ok := strings.CutPrefix("/"+rest, modules); ok {
		_, rest, _ = strings.Cut(after, "/")
	}
	for _, name := range names {
		if _, ok := cutBag(rest, strings.TrimSuffix(name, "/")); ok {
			return fmt.Errorf("%w: %s", ErrForeign, quote(topic))
		}
	}
	return unknown(topic)
}

func unknown(topic string) error { return fmt.Errorf("%w: %s", ErrUnknown, quote(topic)) }

// quote returns the beginning of a topic in a form fit for a log, in memory of
// its own.
func quote(topic string) string {
	const most = 128
	if len(topic) > most {
		return strconv.Quote(topic[:most]) + "…"
	}
	return strconv.Quote(topic)
}

// parseResponse reads "{status}/?$rid={rid}[&$version={n}]".
func parseResponse(kind Kind, rest string) (Publish, error) {
	status, query, ok := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(status, 10, 32)
	if !ok || err != nil || status[0] == '+' {
		return Publish{}, fmt.Errorf("%w: status %s is not a number", ErrMalformed, quote(status))
	}
	p, err := parseRequest(kind, query)
	p.Status = int(n)
	return p, err
}

// parseRequest reads "?$rid={rid}[&$version={n}]".
func parseRequest(kind Kind, query string) (Publish, error) {
	p := Publish{Kind: kind}
	if err := parseQuery(&p, query); err != nil {
		return Publish{}, err
	}
	if p.RID == "" {
		return Publish{}, fmt.Errorf("%w: the query has no $rid", ErrMalformed)
	}
	return p, nil
}

// parseQuery reads $rid and $version, in any order, among parameters that are
// not known. The request id is not decoded: it goes back as it came.
func parseQuery(p *Publish, query string) error {
	query, ok := strings.CutPrefix(query, "?")
	if !ok {
		return fmt.Errorf("%w: query %s does not begin with '?'", ErrMalformed, quote(query))
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "$rid", "%24rid":
			if len(value) > MaxRequestID {
				return fmt.Errorf("%w: $rid of %d bytes, at most %d are accepted", ErrMalformed, len(value), MaxRequestID)
			}
			p.RID = value
		case "$version", "%24version":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return fmt.Errorf("%w: $version %s is not a version", ErrMalformed, quote(value))
			}
			p.Version = n
		}
	}
	return nil
}
