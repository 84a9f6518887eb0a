package hubquery

import (
	"strconv"
	"strings"
)

// Root is the document or attribute that a path begins with.
type Root uint8

// The roots. Of twins, of both twins and jobs, and of jobs alone.
const (
	Unknown Root = iota // there is no such attribute: always undefined

	DeviceID
	Status

	ModuleID
	ETag       // of the twin
	DeviceETag // of the identity
	GenerationID
	ModelID
	StatusReason
	StatusUpdateTime
	ConnectionState
	ConnectionStateUpdatedTime
	LastActivityTime
	AuthenticationType
	X509Thumbprint
	CloudToDeviceMessageCount
	Version
	Capabilities
	DeviceScope
	ParentScopes
	Configurations
	Tags
	Desired    // properties.desired
	Reported   // properties.reported
	Properties // itself, or something else below it

	JobID
	JobType
	StartTime
	EndTime
	CreatedTime
	LastUpdatedTime
	Outcome
	JobError
)

// twinRoots are the attributes of a twin by their names in lower case.
var twinRoots = map[string]Root{
	"deviceid": DeviceID, "id": DeviceID, "moduleid": ModuleID,
	"etag": ETag, "deviceetag": DeviceETag, "generationid": GenerationID, "modelid": ModelID,
	"status": Status, "statusreason": StatusReason,
	"statusupdatetime": StatusUpdateTime, "statusupdatedtime": StatusUpdateTime,
	"connectionstate": ConnectionState, "connectionstateupdatedtime": ConnectionStateUpdatedTime,
	"lastactivitytime": LastActivityTime, "authenticationtype": AuthenticationType,
	"x509thumbprint": X509Thumbprint, "cloudtodevicemessagecount": CloudToDeviceMessageCount,
	"version": Version, "capabilities": Capabilities,
	"devicescope": DeviceScope, "parentscopes": ParentScopes, "configurations": Configurations,
	"tags": Tags, "properties": Properties,
}

// jobRoots are the attributes of a job on a device.
var jobRoots = map[string]Root{
	"deviceid": DeviceID, "id": DeviceID, "jobid": JobID, "jobtype": JobType, "status": Status,
	"starttimeutc": StartTime, "starttime": StartTime, "endtimeutc": EndTime, "endtime": EndTime,
	"createddatetimeutc": CreatedTime, "createdtimeutc": CreatedTime,
	"lastupdateddatetimeutc": LastUpdatedTime, "lastupdatedtimeutc": LastUpdatedTime,
	"outcome": Outcome, "error": JobError,
}

// Segment is one step below a root: a member, or an element of an array.
type Segment struct {
	Name    string
	Index   int
	Element bool // Index counts, not Name
}

// Path names a value in a row.
type Path struct {
	Root     Root
	Segments []Segment // below Root
	last     string    // the last name as it was written
	text     string    // as it was written, with its prefix; for messages
	at       int       // offset in the text
}

// String returns the path as it was written.
func (p *Path) String() string { return p.text }

// Same reports whether two paths name the same value.
func (p *Path) Same(q *Path) bool {
	if p.Root != q.Root || len(p.Segments) != len(q.Segments) {
		return false
	}
	for i := range p.Segments {
		if p.Segments[i] != q.Segments[i] {
			return false
		}
	}
	return p.Root != Unknown || p.text == q.text
}

// rawSegment is a segment as it was written.
type rawSegment struct {
	Segment
	quoted bool // in double brackets
}

// resolve finds what a path begins with in a collection. Names of attributes
// are known in any case, what is below them is not.
func resolve(segs []rawSegment, c Collection) *Path {
	p := &Path{text: pathText(segs)}
	for i := len(segs) - 1; i >= 0; i-- {
		if !segs[i].Element {
			p.last = segs[i].Name
			break
		}
	}
	plain := func(i int, name string) bool {
		return i < len(segs) && !segs[i].quoted && !segs[i].Element && strings.EqualFold(segs[i].Name, name)
	}
	if len(segs) > 1 && plain(0, "devices") {
		segs = segs[1:]
		if len(segs) > 1 && (plain(0, "modules") || plain(0, "jobs")) {
			segs = segs[1:]
		}
	}
	roots := twinRoots
	if c == Jobs {
		roots = jobRoots
	}
	if !segs[0].Element {
		p.Root = roots[strings.ToLower(segs[0].Name)]
	}
	segs = segs[1:]
	if p.Root == Properties {
		switch {
		case plain(0, "desired"):
			p.Root, segs = Desired, segs[1:]
		case plain(0, "reported"):
			p.Root, segs = Reported, segs[1:]
		}
	}
	for _, s := range segs {
		p.Segments = append(p.Segments, s.Segment)
	}
	return p
}

func pathText(segs []rawSegment) string {
	var b strings.Builder
	for i, s := range segs {
		switch {
		case s.Element:
			b.WriteString("[" + strconv.Itoa(s.Index) + "]")
			continue
		case i > 0:
			b.WriteByte('.')
		}
		if s.quoted {
			b.WriteString("[[" + s.Name + "]]")
		} else {
			b.WriteString(s.Name)
		}
	}
	return b.String()
}
