package client

import (
	"context"
	"net/http"
	"net/url"
)

// The types of transfers.
const (
	TransferExport = "export"
	TransferImport = "import"
)

// Transfer writes the identities of a hub to a blob, or reads them from one.
// Containers are addresses with a shared access signature; the hub shows them
// without it.
type Transfer struct {
	ID                 string `json:"jobId,omitempty"`
	Type               string `json:"type"` // TransferExport or TransferImport
	Status             string `json:"status,omitempty"`
	Progress           int    `json:"progress"` // percent
	Start              Time   `json:"startTimeUtc,omitzero"`
	End                Time   `json:"endTimeUtc,omitzero"`
	Input              string `json:"inputBlobContainerUri,omitempty"`
	InputName          string `json:"inputBlobName,omitempty"` // "" is devices.txt
	Output             string `json:"outputBlobContainerUri,omitempty"`
	OutputName         string `json:"outputBlobName,omitempty"` // "" is devices.txt
	ExcludeKeys        bool   `json:"excludeKeysInExport"`
	Configurations     bool   `json:"includeConfigurations"`
	ConfigurationsName string `json:"configurationsBlobName,omitempty"` // "" is configurations.txt
	FailureReason      string `json:"failureReason,omitempty"`
}

// Ended reports whether the transfer has come to its end.
func (t *Transfer) Ended() bool {
	return t.Status == "completed" || t.Status == "failed" || t.Status == "cancelled"
}

// CreateTransfer begins an export or import. Codes: JobQuotaExceeded (a hub has
// one at a time), BlobContainerValidationError.
func (s *Service) CreateTransfer(ctx context.Context, t Transfer) (Transfer, error) {
	var out Transfer
	_, err := s.call(ctx, "create "+t.Type, http.MethodPost, "/jobs/create", "", t, &out)
	return out, err
}

// Transfer returns an export or import. Code: JobNotFound.
func (s *Service) Transfer(ctx context.Context, id string) (Transfer, error) {
	var out Transfer
	_, err := s.call(ctx, "get transfer", http.MethodGet, "/jobs/"+url.PathEscape(id), "", nil, &out)
	return out, err
}

// Transfers lists the exports and imports of the last 30 days, newest first.
func (s *Service) Transfers(ctx context.Context) ([]Transfer, error) {
	var out []Transfer
	_, err := s.call(ctx, "list transfers", http.MethodGet, "/jobs", "", nil, &out)
	return out, err
}

// CancelTransfer ends an export or import; what an import has applied remains.
// Code: JobNotFound.
func (s *Service) CancelTransfer(ctx context.Context, id string) error {
	_, err := s.call(ctx, "cancel transfer", http.MethodDelete, "/jobs/"+url.PathEscape(id), "", nil, nil)
	return err
}
