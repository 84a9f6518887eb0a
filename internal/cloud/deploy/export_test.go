package deploy

// CheckContent reads a content and returns it as it is kept.
func CheckContent(text []byte) ([]byte, error) {
	if _, err := parseContent(text); err != nil {
		return nil, err
	}
	return compact(text)
}
