package routecond

// Message is what conditions read. Everything it returns is borrowed until the
// next Reset of the evaluator.
type Message interface {
	// Property returns the value of the first application property of that
	// name, case ignored. A property may be there and null.
	Property(name string) (value string, null, ok bool)
	// Shadows reports whether the name of an application property begins with
	// "$": such a one counts before the system property and the path it is
	// named like.
	Shadows() bool
	// System returns a system property; the name is in lower case.
	System(name string) (value string, ok bool)
	// Body returns the bytes of the body.
	Body() []byte
	// Twin returns the twin of the sender; ok is false when there is none.
	Twin() (t Twin, ok bool)
}

// Twin is the documents that paths under $twin lead into: JSON objects, or
// nothing.
type Twin struct {
	Tags, Desired, Reported []byte
}
