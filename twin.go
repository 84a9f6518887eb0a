package causeway

// Twin is the device's view of its twin: the two sections as JSON objects,
// each with its "$version" member and without "$metadata".
type Twin struct {
	Desired, Reported               []byte
	DesiredVersion, ReportedVersion int64
}

// Patch is a change of one section of a twin as a JSON merge patch (RFC 7396):
// null deletes a key.
//
// In [Session.Report] it is what the device reports, and Version is the
// expected current version of the reported section, or 0 for any. In
// [Device.Desired] Version is the new version of the desired section, and
// Properties holds the change including a "$version" member.
type Patch struct {
	Properties []byte
	Version    int64
}
