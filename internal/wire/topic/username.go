package topic

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// Username is the user name of an MQTT CONNECT, taken apart.
type Username struct {
	Host       string
	Device     string
	Module     string // "" for a device
	APIVersion string // "" for clients from before there was one
	ClientType string // user agent
	ModelID    string // digital twin model, only from clients new enough to mean it
	AuthChain  string // nested edge: ids separated by ';'
}

// modelSince is the first api-version whose model-id counts.
const modelSince = "2020-09-30"

// firstVersion is the first api-version of the public protocol.
const firstVersion = "2016-02-03"

// ParseUsername reads
//
//	{host}/{d}[/{m}][/?api-version={v}&DeviceClientType={t}[&model-id={id}][&auth-chain={c}]]
//
// The '?' may be missing, parameters may come in any order, the first of equal
// ones wins, and unknown ones are ignored. Ids are taken as they are, parameters
// are percent-decoded. Errors wrap ErrMalformed.
func ParseUsername(s string) (Username, error) {
	if len(s) > MaxUsername {
		return Username{}, fmt.Errorf("%w: user name of %d bytes, at most %d are accepted", ErrMalformed, len(s), MaxUsername)
	}
	var u Username
	var rest string
	u.Host, rest, _ = strings.Cut(s, "/")
	u.Device, rest, _ = strings.Cut(rest, "/")
	if u.Host == "" || u.Device == "" {
		return Username{}, fmt.Errorf("%w: user name %s is not {host}/{device}/?api-version=…", ErrMalformed, quote(s))
	}
	if rest != "" && !isQuery(rest) {
		u.Module, rest, _ = strings.Cut(rest, "/")
	}
	if len(u.Device) > causeway.MaxIDLength || len(u.Module) > causeway.MaxIDLength {
		return Username{}, fmt.Errorf("%w: id of more than %d characters in the user name", ErrMalformed, causeway.MaxIDLength)
	}
	if rest == "" {
		return u, nil
	}
	if !isQuery(rest) {
		return Username{}, fmt.Errorf("%w: user name %s has more than host, device, module and parameters", ErrMalformed, quote(s))
	}
	set := make(map[string]bool, 4)
	for pair := range strings.SplitSeq(strings.TrimPrefix(rest, "?"), "&") {
		key, value, _ := strings.Cut(pair, "=")
		key = percent.Unescape(key)
		field := u.field(key)
		if field == nil || set[key] {
			continue
		}
		set[key] = true
		*field = percent.Unescape(value)
	}
	if u.APIVersion != "" && !ValidAPIVersion(u.APIVersion) {
		return Username{}, fmt.Errorf("%w: api-version %s is not a date from %s on", ErrMalformed, quote(u.APIVersion), firstVersion)
	}
	if u.APIVersion < modelSince { // dates of this form sort as text
		u.ModelID = ""
	}
	return u, nil
}

// isQuery reports whether s begins with the parameters and not with a module: no
// id has an '&'.
func isQuery(s string) bool {
	first, _, _ := strings.Cut(s, "/")
	return strings.HasPrefix(s, "?") || strings.HasPrefix(first, "api-version=") || strings.Contains(first, "&api-version=")
}

// field returns where the parameter called key belongs, nil for unknown ones.
func (u *Username) field(key string) *string {
	switch key {
	case "api-version":
		return &u.APIVersion
	case "DeviceClientType":
		return &u.ClientType
	case "model-id":
		return &u.ModelID
	case "auth-chain":
		return &u.AuthChain
	}
	return nil
}

// Identity returns who connects; its Hub is for the caller to fill in.
func (u Username) Identity() causeway.Identity {
	return causeway.Identity{Device: u.Device, Module: u.Module}
}

// ClientID returns the MQTT client id that belongs to the user name.
func (u Username) ClientID() string { return u.Identity().String() }

// String returns the user name in the form current clients send.
func (u Username) String() string {
	b := append(make([]byte, 0, 128), u.Host...)
	b = append(b, '/')
	b = append(b, u.ClientID()...)
	b = append(b, "/?"...)
	start := len(b)
	for _, p := range [...]struct{ key, value string }{
		{"api-version", u.APIVersion},
		{"DeviceClientType", u.ClientType},
		{"model-id", u.ModelID},
		{"auth-chain", u.AuthChain},
	} {
		if p.value != "" {
			b = item(b, start, p.key, p.value)
		}
	}
	return string(b)
}

// ValidAPIVersion reports whether v is a date from the first version on, with an
// optional "-preview".
func ValidAPIVersion(v string) bool {
	date := strings.TrimSuffix(v, "-preview")
	_, err := time.Parse(time.DateOnly, date)
	return err == nil && date >= firstVersion
}
