package causeway

// Call is a direct method invocation. Payload is one JSON value, "null" when
// the caller gave none.
type Call struct {
	Method  string
	Payload []byte
}

// Result is a device's answer to a [Call]. Payload is one JSON value or empty,
// which means null.
type Result struct {
	Status  int
	Payload []byte
}
