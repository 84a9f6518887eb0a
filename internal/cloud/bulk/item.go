package bulk

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// Mode says what an item asks for.
type Mode uint8

// The modes, as importMode names them.
const (
	CreateOrUpdate Mode = iota
	CreateOrUpdateIfMatchETag
	Create
	Update
	UpdateIfMatchETag
	Delete
	DeleteIfMatchETag
	UpdateTwin
	UpdateTwinIfMatchETag
)

var modeNames = [...]string{
	CreateOrUpdate: "createOrUpdate", CreateOrUpdateIfMatchETag: "createOrUpdateIfMatchETag", Create: "create",
	Update: "update", UpdateIfMatchETag: "updateIfMatchETag", Delete: "delete", DeleteIfMatchETag: "deleteIfMatchETag",
	UpdateTwin: "updateTwin", UpdateTwinIfMatchETag: "updateTwinIfMatchETag",
}

// String returns the name as it stands in an item.
func (m Mode) String() string { return modeNames[m] }

// ParseMode reads an importMode without regard to case; "" is CreateOrUpdate.
func ParseMode(s string) (Mode, bool) {
	if s == "" {
		return CreateOrUpdate, true
	}
	for m, name := range modeNames {
		if strings.EqualFold(name, s) {
			return Mode(m), true
		}
	}
	return 0, false
}

// Item is one change of a bulk operation.
type Item struct {
	Device, Module string
	Mode           Mode
	Identity       Identity
	ETag           string // of the identity, for the modes that compare it
	TwinETag       string // of the twin; "" for any
	Twin           TwinPart
	Err            error // why the item cannot be applied, with a code
}

// TwinPart is the twin of an item. Absent sections are nil.
type TwinPart struct {
	Tags, Desired, Reported           []byte
	DesiredMetadata, ReportedMetadata []byte // "$metadata" of the sections
}

// given reports whether a service may write what is there: reported properties
// are the device's.
func (t *TwinPart) given() bool { return t.Tags != nil || t.Desired != nil }

func (it *Item) identity(hub string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: it.Device, Module: it.Module}
}

// operation names what is tried, in the words of the result.
func (it *Item) operation() string {
	switch it.Mode {
	case Create, CreateOrUpdate, CreateOrUpdateIfMatchETag:
		return "register"
	case Update, UpdateIfMatchETag:
		return "update"
	case Delete, DeleteIfMatchETag:
		return "delete"
	default:
		return "updateTwin"
	}
}

// itemJSON is what an item has beside the members of [Identity].
type itemJSON struct {
	ID         *string         `json:"id"`
	ModuleID   *string         `json:"moduleId"`
	ETag       *string         `json:"eTag"` // and etag: names are compared without case
	ImportMode *string         `json:"importMode"`
	TwinETag   *string         `json:"twinETag"`
	Tags       json.RawMessage `json:"tags"`
	Properties *struct {
		Desired  json.RawMessage `json:"desired"`
		Reported json.RawMessage `json:"reported"`
	} `json:"properties"`
}

// metadataJSON finds "$metadata" in a section.
type metadataJSON struct {
	Metadata json.RawMessage `json:"$metadata"`
}

// Parse reads one item. What is wrong with it is in Err, beside the ids as far
// as they can be read. The item shares no memory with data.
func Parse(data []byte) Item {
	var it Item
	it.Err = it.parse(data)
	return it
}

func (it *Item) parse(data []byte) error {
	const op = "bulk.Parse"
	switch {
	case len(data) > MaxItem:
		return causeway.Errorf(causeway.GenericRequestEntityTooLarge, op, "the item has %d bytes, at most %d are allowed", len(data), MaxItem)
	case !utf8.Valid(data):
		return causeway.Errorf(causeway.DeserializationError, op, "the item is not UTF-8")
	}
	var in itemJSON
	err := json.Unmarshal(data, &in)
	it.Device, it.Module = clip(text(in.ID)), clip(text(in.ModuleID)) // what could be read of them, for the error
	if err == nil && isNull(data) {
		return causeway.Errorf(causeway.DeserializationError, op, "the item is null, a JSON object was expected")
	}
	if err == nil {
		err = json.Unmarshal(data, &it.Identity)
	}
	if err != nil {
		return notJSON(op, err)
	}
	mode, ok := ParseMode(text(in.ImportMode))
	if !ok {
		return causeway.Errorf(causeway.ArgumentInvalid, op, "importMode is %q, it must be one of %s", clip(*in.ImportMode), strings.Join(modeNames[:], ", "))
	}
	it.Mode = mode
	if it.Device == "" {
		return causeway.Errorf(causeway.ArgumentNull, op, "id is missing: it names the device")
	}
	for _, m := range []struct{ name, id string }{{"id", text(in.ID)}, {"moduleId", it.Module}} {
		if m.id != "" && !registry.ValidID(m.id) {
			return causeway.Errorf(causeway.ArgumentInvalid, op,
				"%s %q is not one: an id has 1 to %d ASCII letters, digits and characters of - . %% _ * ? ! ( ) , : = @ $ '", m.name, clip(m.id), causeway.MaxIDLength)
		}
	}
	it.ETag, it.TwinETag = bareETag(text(in.ETag)), bareETag(text(in.TwinETag))
	if it.ETag == "" && (mode == UpdateIfMatchETag || mode == DeleteIfMatchETag) {
		return causeway.Errorf(causeway.ArgumentNull, op, "importMode %s needs eTag", mode)
	}
	if it.TwinETag == "" && mode == UpdateTwinIfMatchETag {
		// Some clients have one member for both etags.
		if it.TwinETag = it.ETag; it.TwinETag == "" {
			return causeway.Errorf(causeway.ArgumentNull, op, "importMode %s needs twinETag", mode)
		}
	}
	return it.Twin.read(&in)
}

// read takes the sections over; null is absent, as for members that are not
// there: exporters write both.
func (t *TwinPart) read(in *itemJSON) error {
	t.Tags = present(in.Tags)
	if in.Properties == nil {
		return nil
	}
	t.Desired, t.Reported = present(in.Properties.Desired), present(in.Properties.Reported)
	for _, s := range []struct {
		name     string
		from     []byte
		metadata *[]byte
	}{{"desired", t.Desired, &t.DesiredMetadata}, {"reported", t.Reported, &t.ReportedMetadata}} {
		if s.from == nil {
			continue
		}
		var m metadataJSON
		if err := json.Unmarshal(s.from, &m); err != nil {
			return causeway.Errorf(causeway.DeserializationError, "bulk.Parse", "properties.%s is not a JSON object", s.name)
		}
		*s.metadata = present(m.Metadata)
	}
	return nil
}

func present(b json.RawMessage) []byte {
	if len(b) == 0 || isNull(b) {
		return nil
	}
	return b
}

func isNull(b []byte) bool { return string(bytes.TrimSpace(b)) == "null" }

// bareETag returns an etag without the quotes that headers have.
func bareETag(s string) string {
	s = strings.TrimPrefix(s, "W/")
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	return s
}

// notJSON says where an item is not what it should be.
func notJSON(op string, err error) error {
	switch e := err.(type) { //nolint:errorlint // encoding/json returns them unwrapped
	case *json.SyntaxError:
		return causeway.Errorf(causeway.DeserializationError, op, "the item is not valid JSON at byte %d: %s", e.Offset, e.Error())
	case *json.UnmarshalTypeError:
		if e.Field == "" {
			return causeway.Errorf(causeway.DeserializationError, op, "the item is a JSON %s, an object was expected", e.Value)
		}
		return causeway.Errorf(causeway.DeserializationError, op, "member %q of the item does not have the expected form: it is a JSON %s", e.Field, e.Value)
	}
	return &causeway.Error{Code: causeway.DeserializationError, Op: op, Msg: "the item cannot be read as JSON", Err: err}
}
