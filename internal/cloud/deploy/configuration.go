package deploy

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"time"
)

// Configuration is what an operator wants of some devices. One that a [Service]
// handed out shares memory with others: it is read only.
type Configuration struct {
	ID              string
	SchemaVersion   string
	Labels          map[string]string
	Content         json.RawMessage // compact JSON; never changes
	TargetCondition string          // "" targets nothing, "*" everything of its kind
	Priority        int             // the greater wins
	Metrics         map[string]string
	Created         time.Time
	Updated         time.Time
	ETag            string // without quotes
	// Problem says why it targets nothing new: what is stored makes no sense to
	// this version of the program. It is "" of a sound one, and not stored.
	Problem string
}

// Kind says what the content of a configuration is for.
type Kind uint8

// The kinds of configurations. One whose content cannot be read may be of any:
// it has none.
const (
	Device Kind = iota + 1 // deviceContent
	Module                 // moduleContent
	Edge                   // modulesContent
)

// The contentType of every configuration, and the schemaVersion of those that
// come without.
const (
	ContentType          = "assignment"
	defaultSchemaVersion = "1.0"
)

// Stored is a configuration as a [Store] keeps it.
type Stored struct {
	Hub string
	Configuration
	// Pending says that twins may not be as the configuration wants.
	Pending bool
	// Leaving says that it is deleted, but what it set may still be in twins.
	Leaving bool
	// Damaged says why what is stored cannot be read, nil when it can. Of a
	// damaged one there are the hub, the id, the times, the etag, Pending and
	// Leaving.
	Damaged error
}

// newETag returns an etag that no configuration had before: base64 of decimal
// text, as the service writes them.
func newETag() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString([]byte(strconv.FormatUint(binary.LittleEndian.Uint64(b[:]), 10)))
}

// timestamp returns the time to write down: what every store keeps.
func timestamp() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
