package hubamqp

import (
	"strings"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Audience is what the name of a put-token request says: whose token it is. It
// tells which earlier token the new one replaces, and nothing of what the token
// allows: that is for the token itself to say.
type Audience struct {
	Host           string // in lower case, without port
	Device, Module string // of a device or module; "" otherwise
	Path           string // decoded, without slashes at either end; "" for the whole host
}

// Key returns the same text for all names of the same thing.
func (a *Audience) Key() string {
	if a.Path == "" {
		return a.Host
	}
	return a.Host + "/" + a.Path
}

// ParseAudience reads the name of a put-token request: "{host}/devices/{d}" and
// so on, with or without scheme and port, as it is or percent-encoded as a whole.
// The error is ArgumentInvalid.
func ParseAudience(name string) (Audience, error) {
	const op = "amqp.audience"
	if len(name) > MaxAudience {
		return Audience{}, causeway.Errorf(causeway.ArgumentInvalid, op, "name of %d bytes, at most %d are accepted", len(name), MaxAudience)
	}
	s := name
	if strings.IndexByte(s, '/') < 0 {
		s = percent.Unescape(s)
	}
	if i := strings.Index(s, "://"); i > 0 && strings.IndexByte(s[:i], '/') < 0 {
		s = s[i+3:]
	}
	host, path, _ := strings.Cut(s, "/")
	a := Audience{Host: strings.ToLower(sas.Host(host))}
	// Ids are escaped once more by clients that encode the whole.
	path = percent.Unescape(strings.Trim(path, "/"))
	if a.Host == "" || !utf8.ValidString(host) || !utf8.ValidString(path) {
		return Audience{}, causeway.Errorf(causeway.ArgumentInvalid, op, "name %q is not a resource such as {host}/devices/{device}", cut(name))
	}
	a.Path = path
	word, rest, _ := strings.Cut(path, "/")
	if !strings.EqualFold(word, "devices") || rest == "" {
		return a, nil
	}
	// What follows the ids does not matter.
	a.Device, rest, _ = strings.Cut(rest, "/")
	a.Path = "devices/" + a.Device
	if word, rest, _ = strings.Cut(rest, "/"); strings.EqualFold(word, "modules") && rest != "" {
		a.Module, _, _ = strings.Cut(rest, "/")
		a.Path += "/modules/" + a.Module
	}
	return a, nil
}

// AudienceOf returns the name with which the client id asks for its own token to
// be taken: "{host}/devices/{d}[/modules/{m}]", ids escaped.
func AudienceOf(host string, id causeway.Identity) string {
	return string(appendIdentity([]byte(host), id.Device, id.Module))
}
