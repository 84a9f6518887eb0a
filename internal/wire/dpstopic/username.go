package dpstopic

import (
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// registrations is the second part of a user name.
const registrations = "registrations"

// Username is the user name of a device's CONNECT, taken apart.
type Username struct {
	Scope         string
	ID            string // registration id
	APIVersion    string // as it is sent, "" when it is left out
	ClientVersion string // user agent
}

// Is reports whether a CONNECT with this user name and client id is meant for the
// provisioning service. One for a hub may look the same, when a device is called
// "registrations" and has a module: its client id has both of their names, which
// no registration id can be.
func Is(username, clientID string) bool {
	parts := strings.SplitN(username, "/", 4)
	return len(parts) > 2 && parts[1] == registrations && parts[2] != "" && !isQuery(parts[2]) &&
		clientID != registrations+"/"+parts[2]
}

// ParseUsername reads
//
//	{idScope}/registrations/{registrationId}/api-version={v}[&ClientVersion={c}]
//
// There may be a '?' before the parameters, which come in any order; the first of
// equal ones wins, unknown ones are ignored, and case does not matter in their
// names. Everything is percent-decoded. Errors wrap topic.ErrMalformed.
func ParseUsername(s string) (Username, error) {
	if len(s) > topic.MaxUsername {
		return Username{}, fmt.Errorf("%w: user name of %d bytes, at most %d are accepted", topic.ErrMalformed, len(s), topic.MaxUsername)
	}
	parts := strings.SplitN(s, "/", 4)
	if len(parts) < 3 || parts[0] == "" || parts[1] != registrations || parts[2] == "" || isQuery(parts[2]) {
		return Username{}, fmt.Errorf("%w: user name %s is not {idScope}/registrations/{registrationId}/api-version=…", topic.ErrMalformed, quote(s))
	}
	u := Username{Scope: percent.Unescape(parts[0]), ID: percent.Unescape(parts[2])}
	if len(parts) == 3 {
		return u, nil
	}
	if !isQuery(parts[3]) {
		return Username{}, fmt.Errorf("%w: user name %s has more than an id scope, a registration id and parameters", topic.ErrMalformed, quote(s))
	}
	for pair := range strings.SplitSeq(strings.TrimPrefix(parts[3], "?"), "&") {
		key, value, _ := strings.Cut(pair, "=")
		var field *string
		switch key = percent.Unescape(key); {
		case strings.EqualFold(key, "api-version"):
			field = &u.APIVersion
		case strings.EqualFold(key, "ClientVersion"):
			field = &u.ClientVersion
		default:
			continue
		}
		if *field == "" {
			*field = percent.Unescape(value)
		}
	}
	return u, nil
}

// isQuery reports whether a part of a user name is its parameters, of which there
// may be none.
func isQuery(s string) bool { return s == "" || strings.HasPrefix(s, "?") || strings.Contains(s, "=") }

// String returns the user name as clients send it.
func (u Username) String() string {
	b := percent.AppendEscape(make([]byte, 0, 128), u.Scope)
	b = percent.AppendEscape(append(b, "/"+registrations+"/"...), u.ID)
	b = percent.AppendEscape(append(b, "/api-version="...), u.APIVersion)
	if u.ClientVersion != "" {
		b = percent.AppendEscape(append(b, "&ClientVersion="...), u.ClientVersion)
	}
	return string(b)
}
