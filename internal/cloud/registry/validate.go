package registry

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
)

// The modules every edge device has. They come and go with it.
const (
	EdgeAgent = "$edgeAgent"
	EdgeHub   = "$edgeHub"
)

// ManagedByEdge marks modules that the edge runtime manages.
const ManagedByEdge = "iotEdge"

// systemModule reports whether a module id is reserved for the platform.
func systemModule(id string) bool { return strings.HasPrefix(id, "$") }

// idMarks are the characters of an id beside letters and digits. "#" and "+"
// are from older documents.
const idMarks = "-.%_*?!(),:=@$'#+"

// ValidID reports whether s may name a device or a module.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > causeway.MaxIDLength {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(idMarks, c) >= 0) {
			return false
		}
	}
	return true
}

func checkIdentity(op string, id causeway.Identity) error {
	if id.Hub == "" {
		return invalid(op, "the hub is missing")
	}
	if !ValidID(id.Device) {
		return invalidID(op, "deviceId", id.Device)
	}
	if id.IsModule() && !ValidID(id.Module) {
		return invalidID(op, "moduleId", id.Module)
	}
	return nil
}

func invalidID(op, name, id string) error {
	if len(id) > causeway.MaxIDLength {
		return invalid(op, "%s has %d characters, at most %d are allowed", name, len(id), causeway.MaxIDLength)
	}
	return invalid(op, "%s %q must be 1 to %d characters of A–Z a–z 0–9 and - . %% _ * ? ! ( ) , : = @ $ '", name, id, causeway.MaxIDLength)
}

func checkStatusReason(op, reason string) error {
	if n := utf8.RuneCountInString(reason); n > causeway.MaxStatusReason {
		return invalid(op, "statusReason has %d characters, at most %d are allowed", n, causeway.MaxStatusReason)
	}
	return nil
}

// checkManagedBy accepts any short text; the runtime that manages a module puts
// its name there.
func checkManagedBy(op, name string) error {
	if len(name) > causeway.MaxIDLength {
		return invalid(op, "managedBy has %d characters, at most %d are allowed", len(name), causeway.MaxIDLength)
	}
	return nil
}

func invalid(op, format string, args ...any) error {
	return causeway.Errorf(causeway.ArgumentInvalid, op, format, args...)
}

// newETag returns an etag for an identity: base64 of decimal text, as the
// service writes them.
func newETag() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	n := strconv.FormatUint(binary.LittleEndian.Uint64(b[:]), 10)
	return base64.StdEncoding.EncodeToString([]byte(n))
}

// ticksAtUnixEpoch is 1970-01-01 in ticks: 100 ns since 0001-01-01.
const ticksAtUnixEpoch = 621_355_968_000_000_000

// newGeneration returns a generation id: the ticks of now, and unlike any that
// this service gave out before.
func (s *Service) newGeneration(now time.Time) string {
	ticks := now.UnixNano()/100 + ticksAtUnixEpoch
	for {
		last := s.generation.Load()
		next := max(ticks, last+1)
		if s.generation.CompareAndSwap(last, next) {
			return strconv.FormatInt(next, 10)
		}
	}
}

// timestamp returns the time to write into a record: what every store keeps.
func timestamp() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
