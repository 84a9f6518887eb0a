package config

// Routing is where the messages of a hub go. The names are those of the
// administration; what they mean and which are allowed is said there.
type Routing struct {
	Endpoints     []Endpoint   `yaml:"endpoints"`
	Routes        []Route      `yaml:"routes"`
	FallbackRoute *Fallback    `yaml:"fallbackRoute"`
	Enrichments   []Enrichment `yaml:"enrichments"`
}

// Endpoint is a custom endpoint.
type Endpoint struct {
	Name   string         `yaml:"name"`
	Kind   string         `yaml:"kind"`
	Config map[string]any `yaml:"config"`
	// Secrets are texts, or files that hold one: "@/run/secrets/token".
	Secrets map[string]string `yaml:"secrets"`
}

// Route is a route; nil is enabled.
type Route struct {
	Name          string   `yaml:"name"`
	Source        string   `yaml:"source"` // "" is DeviceMessages
	Condition     string   `yaml:"condition"`
	EndpointNames []string `yaml:"endpointNames"`
	IsEnabled     *bool    `yaml:"isEnabled"`
}

// Fallback is the fallback route; nil is enabled.
type Fallback struct {
	Condition string `yaml:"condition"`
	IsEnabled *bool  `yaml:"isEnabled"`
}

// Enrichment is an enrichment.
type Enrichment struct {
	Key           string   `yaml:"key"`
	Value         string   `yaml:"value"`
	EndpointNames []string `yaml:"endpointNames"`
}
