// Package hubhttp is what IoT Hub makes of HTTP: paths whose ids are decoded
// once, dated API versions, the two forms of error body, messages as headers
// and as JSON batches, lock tokens in paths. Heads of devices and of back ends
// share it.
//
// It knows the wire and serves nothing.
package hubhttp

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// maxSegments is one more than the longest path has.
const maxSegments = 10

// Split takes a path apart at its real slashes and decodes each segment once,
// so that %2F stays inside an id. One trailing slash is ignored. A path with an
// escape that cannot be decoded, or with an empty segment, is none.
func Split(u *url.URL) (segments []string, ok bool) {
	path := strings.TrimSuffix(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	segments = strings.SplitN(path, "/", maxSegments)
	for i, s := range segments {
		d, err := url.PathUnescape(s)
		if err != nil || d == "" {
			return nil, false
		}
		segments[i] = d
	}
	return segments, true
}

// Pattern is the path of a route, segment by segment: literal segments are
// matched without case (clients spell deviceBound in two ways), and {name}
// matches any one segment. http.ServeMux does neither.
type Pattern []string

// ParsePattern reads "/devices/{deviceId}/…".
func ParsePattern(path string) Pattern { return strings.Split(path[1:], "/") }

// Match reports whether segments fit p, and gives the variable ones to set, by
// their names without braces.
func (p Pattern) Match(segments []string, set func(name, value string)) bool {
	if len(p) != len(segments) {
		return false
	}
	for i, want := range p {
		if variable(want) {
			continue
		}
		if !strings.EqualFold(want, segments[i]) {
			return false
		}
	}
	for i, want := range p {
		if variable(want) {
			set(want[1:len(want)-1], segments[i])
		}
	}
	return true
}

func variable(segment string) bool { return len(segment) > 2 && segment[0] == '{' }

// oldestVersion is the first published version of the API.
const oldestVersion = "2016-02-03"

// CheckVersion accepts any date from the first version on, with or without a
// suffix such as -preview: what clients send goes from 2016 to years ahead.
// Code InvalidProtocolVersion.
func CheckVersion(r *http.Request) error {
	const op = "http.version"
	v := r.URL.Query().Get("api-version")
	if v == "" {
		return causeway.Errorf(causeway.InvalidProtocolVersion, op,
			"the query parameter api-version is missing, give a date such as api-version=2021-04-12")
	}
	date := v
	if len(v) > len(time.DateOnly) {
		date = v[:len(time.DateOnly)]
		if suffix := v[len(time.DateOnly):]; suffix[0] != '-' || len(suffix) > 32 || !isWord(suffix[1:]) {
			date = ""
		}
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil || date < oldestVersion {
		return causeway.Errorf(causeway.InvalidProtocolVersion, op,
			"api-version %q is not a date from %s on, such as 2021-04-12", Clip(v), oldestVersion)
	}
	return nil
}

func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// Clip shortens text of a client that is repeated in a message or a log line.
func Clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Time renders an instant with seven digits of fraction, as .NET does. The zero
// time is the year one, which clients expect for "never".
func Time(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00Z"
	}
	return t.UTC().Format(hubjson.Ticks)
}
