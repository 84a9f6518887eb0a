package registry

import (
	"context"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// Parts say which members of a [Record] are wanted. The ID always is; keys
// never are.
type Parts uint16

// The parts.
const (
	PartIdentity         Parts = 1 << iota // everything that none of the others is
	PartAuthentication                     // Auth.Type
	PartThumbprints                        // the thumbprints of Auth
	PartStatus                             // Enabled, StatusReason, StatusUpdated
	PartEdge                               // Edge, DeviceScope, ParentScopes
	PartActivity                           // the connection facts
	PartTwin                               // Version, ETag, ModelID
	PartVersions                           // Desired.Version, Reported.Version
	PartTags                               // Tags
	PartDesired                            // Desired.Properties
	PartDesiredMetadata                    // Desired.Metadata
	PartReported                           // Reported.Properties
	PartReportedMetadata                   // Reported.Metadata

	AllParts = PartIdentity | PartAuthentication | PartThumbprints | PartStatus | PartEdge | PartActivity | PartTwin | PartVersions | PartTags | PartDesired | PartDesiredMetadata | PartReported | PartReportedMetadata
)

// Selection asks for many records.
type Selection struct {
	Hub     string
	Modules bool              // modules instead of devices
	After   causeway.Identity // records up to this one, in the order of their ids, are left out; Hub does not count

	// IDs limits the records to those of some identities. Nil does not.
	IDs []causeway.Identity

	// Where holds of every record that Keep keeps. It is how a store finds them
	// without reading all: it may leave out records of which a part of it is not
	// true, and need not.
	Where []hubquery.Conjunct

	Need  Parts                // what Keep and, unless Whole is set, each reads
	Keep  func(r *Record) bool // whether the record is meant; nil keeps all
	Whole bool                 // each reads all of the records that Keep keeps

	// Long says that many records are likely to be looked at, unless Where finds
	// them. A store lets fewer of those run at once than of others.
	Long bool
}

// Query calls each with the records of a selection, devices in the byte order of
// their ids, modules in that of their devices' and then of their own. An error
// of Keep or each ends it and is returned. Records have the parts that are
// needed, and no keys. Both functions may keep what a record refers to, but not
// the record; they must not call the registry to change anything.
//
// All records are of one moment; they do not wait for others that are being
// written.
func (s *Service) Query(ctx context.Context, sel Selection, each func(r *Record) error) error {
	if err := s.store.Query(ctx, sel, each); err != nil {
		return fmt.Errorf("query the registry of hub %s: %w", sel.Hub, err)
	}
	return nil
}
