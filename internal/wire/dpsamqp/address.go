package dpsamqp

import (
	"strings"

	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// MaxAddress bounds an address in bytes: a URI with ids of any length that a
// service accepts, each escaped.
const MaxAddress = 1 << 10

const registrations = "registrations"

// Address says whose registration a link is for.
type Address struct {
	Host string // of a full URI: in lower case, without port; "" for a path
	// Scope and ID are the id scope and the registration id as they are written.
	Scope, ID string
}

// String returns the path of a.
func (a *Address) String() string { return a.Scope + "/" + registrations + "/" + a.ID }

// ParseAddress reads the address of a link or the user name of SASL PLAIN:
//
//	{idScope}/registrations/{registrationId}
//	/{idScope}/registrations/{registrationId}
//	amqps://{host}/{idScope}/registrations/{registrationId}
//
// Ids are percent-decoded. It reports false for what is none, which may be
// somebody else's address.
func ParseAddress(s string) (Address, bool) {
	if len(s) > MaxAddress {
		return Address{}, false
	}
	var a Address
	if i := strings.Index(s, "://"); i > 0 && strings.IndexByte(s[:i], '/') < 0 {
		var host string
		host, s, _ = strings.Cut(s[i+3:], "/")
		if a.Host = strings.ToLower(sas.Host(host)); a.Host == "" {
			return Address{}, false
		}
	}
	scope, rest, ok := strings.Cut(strings.TrimPrefix(s, "/"), "/")
	word, id, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || !strings.EqualFold(word, registrations) || strings.Contains(id, "/") {
		return Address{}, false
	}
	a.Scope, a.ID = percent.Unescape(scope), percent.Unescape(id)
	return a, a.Scope != "" && a.ID != ""
}
