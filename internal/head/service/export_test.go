package service

// ASCII is ascii for tests.
func ASCII(json []byte) []byte { return ascii(json) }
