package transfer

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

// Request is how callers ask for a job, in JSON. What the hub decides, such as
// the id and the status, is ignored.
type Request struct {
	Type                   *string `json:"type"`
	InputBlobContainerURI  *string `json:"inputBlobContainerUri"`
	InputBlobName          *string `json:"inputBlobName"`
	OutputBlobContainerURI *string `json:"outputBlobContainerUri"`
	OutputBlobName         *string `json:"outputBlobName"`
	ExcludeKeysInExport    *bool   `json:"excludeKeysInExport"`
	StorageAuthentication  *string `json:"storageAuthenticationType"`
	IncludeConfigurations  *bool   `json:"includeConfigurations"`
	ConfigurationsBlobName *string `json:"configurationsBlobName"`
}

func invalid(op, format string, args ...any) error {
	return causeway.Errorf(causeway.ArgumentInvalid, op, format, args...)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func or(s *string, def string) string {
	if text(s) == "" {
		return def
	}
	return *s
}

// Job returns the job that a caller asks for, under an id of its own.
//
// Codes: ArgumentInvalid, ArgumentNull, ManagedIdentityNotEnabled.
func (r *Request) Job(hub string, now time.Time) (Job, error) {
	const op = "transfer.Request"
	j := Job{
		Hub: hub, ID: uuid.Text(uuid.New()), Created: now,
		Input: causeway.Secret(text(r.InputBlobContainerURI)), Output: causeway.Secret(text(r.OutputBlobContainerURI)),
		InputName: or(r.InputBlobName, DevicesName), OutputName: or(r.OutputBlobName, DevicesName),
		ExcludeKeys:    r.ExcludeKeysInExport != nil && *r.ExcludeKeysInExport,
		Configurations: r.IncludeConfigurations != nil && *r.IncludeConfigurations, ConfigurationsName: or(r.ConfigurationsBlobName, ConfigurationsName),
		StorageAuth: or(r.StorageAuthentication, "keyBased"),
	}
	switch t := text(r.Type); {
	case strings.EqualFold(t, string(Export)):
		j.Type, j.Input = Export, ""
		if j.Output == "" {
			return j, causeway.Errorf(causeway.ArgumentNull, op, "outputBlobContainerUri is missing: give the address of a container with the right to write")
		}
	case strings.EqualFold(t, string(Import)):
		j.Type = Import
		if j.Input == "" {
			return j, causeway.Errorf(causeway.ArgumentNull, op, "inputBlobContainerUri is missing: give the address of a container with the right to read")
		}
		if j.Output == "" {
			j.Output = j.Input
		}
	default:
		return j, invalid(op, "type is %.40q, it must be %s or %s", t, Export, Import)
	}
	switch {
	case strings.EqualFold(j.StorageAuth, "identityBased"):
		return j, causeway.Errorf(causeway.ManagedIdentityNotEnabled, op, "storageAuthenticationType identityBased is not supported here: give addresses with a shared access signature")
	case !strings.EqualFold(j.StorageAuth, "keyBased"):
		return j, invalid(op, "storageAuthenticationType is %.40q, it must be keyBased", j.StorageAuth)
	}
	return j, j.check(op)
}

func (j *Job) check(op string) error {
	for _, a := range []struct {
		name string
		uri  causeway.Secret
	}{{"inputBlobContainerUri", j.Input}, {"outputBlobContainerUri", j.Output}} {
		if len(a.uri) > MaxURI {
			return invalid(op, "%s has %d bytes, at most %d are allowed", a.name, len(a.uri), MaxURI)
		}
	}
	for _, b := range []struct{ name, blob string }{
		{"inputBlobName", j.InputName}, {"outputBlobName", j.OutputName}, {"configurationsBlobName", j.ConfigurationsName},
	} {
		if utf8.RuneCountInString(b.blob) > MaxBlobName || strings.ContainsFunc(b.blob, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' || c == utf8.RuneError }) {
			return invalid(op, "%s is not a name of a blob: use up to %d characters, no backslash and no control characters", b.name, MaxBlobName)
		}
		for part := range strings.SplitSeq(b.blob, "/") {
			if part == "" || part == "." || part == ".." {
				return invalid(op, "%s %.80q has a part that is empty, . or ..", b.name, b.blob)
			}
		}
	}
	if j.Configurations && j.Type == Export && j.OutputName == j.ConfigurationsName {
		return invalid(op, "outputBlobName and configurationsBlobName are the same")
	}
	return nil
}

// properties is a job in JSON, its members in the order the service sends them.
type properties struct {
	JobID                  string  `json:"jobId"`
	StartTimeUTC           *string `json:"startTimeUtc"`
	EndTimeUTC             *string `json:"endTimeUtc"`
	Type                   Type    `json:"type"`
	Status                 Status  `json:"status"`
	Progress               int     `json:"progress"`
	InputBlobContainerURI  string  `json:"inputBlobContainerUri,omitempty"`
	InputBlobName          string  `json:"inputBlobName,omitempty"`
	OutputBlobContainerURI string  `json:"outputBlobContainerUri,omitempty"`
	OutputBlobName         string  `json:"outputBlobName,omitempty"`
	ExcludeKeysInExport    bool    `json:"excludeKeysInExport"`
	StorageAuthentication  string  `json:"storageAuthenticationType"`
	IncludeConfigurations  bool    `json:"includeConfigurations"`
	ConfigurationsBlobName string  `json:"configurationsBlobName,omitempty"`
	FailureReason          *string `json:"failureReason"`
}

// MarshalJSON renders a job as IoT Hub does (JobProperties), but for the
// signatures of the addresses: who may read jobs need not be able to read what
// they wrote.
func (j Job) MarshalJSON() ([]byte, error) {
	out := properties{
		JobID: j.ID, StartTimeUTC: instant(j.Began), EndTimeUTC: instant(j.Finished), Type: j.Type, Status: j.Status, Progress: j.Progress,
		OutputBlobContainerURI: Redact(j.Output), OutputBlobName: j.OutputName, ExcludeKeysInExport: j.ExcludeKeys,
		StorageAuthentication: j.StorageAuth, IncludeConfigurations: j.Configurations,
	}
	if j.Type == Import {
		out.InputBlobContainerURI, out.InputBlobName, out.OutputBlobName = Redact(j.Input), j.InputName, ""
	}
	if j.Configurations {
		out.ConfigurationsBlobName = j.ConfigurationsName
	}
	if j.Reason != "" {
		out.FailureReason = &j.Reason
	}
	return hubjson.Marshal(out)
}

// Redact returns an address without its query, where the signature is.
func Redact(uri causeway.Secret) string {
	s, _, _ := strings.Cut(string(uri), "?")
	return s
}

func instant(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(hubjson.Ticks)
	return &s
}
