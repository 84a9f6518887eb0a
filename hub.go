package causeway

import "context"

// Hub is all that a protocol head knows of the platform behind it.
type Hub interface {
	// Connect authenticates cred and opens a session. Until the session is
	// closed the hub may call dev from any goroutine. A nil dev is legal for
	// clients that only send; such a session never takes over another one.
	//
	// Codes: IotHubNotFound (host unknown), IotHubUnauthorized (no such
	// identity, bad proof, expired, disabled: not told apart on purpose),
	// ThrottlingException, ServerBusy.
	Connect(ctx context.Context, cred Credential, dev Device) (Session, error)
}

// Session is what a connected client may ask. It is safe for concurrent use.
// After the session was closed, taken over or hung up its methods return code
// ConnectionForcefullyClosedOnNewConnection or IotHubUnauthorized, and after the
// identity was deleted DeviceNotFound or ModuleNotFound.
type Session interface {
	// Identity returns the authenticated identity, with its canonical hub.
	Identity() Identity

	// Send stores messages from the client and returns when all are durable.
	// It borrows msgs until it returns. All or none are stored.
	// Codes: MessageTooLarge, ArgumentInvalid, IotHubQuotaExceeded,
	// ThrottlingException, ServiceUnavailable (log full or failing: retry).
	Send(ctx context.Context, msgs ...Message) error

	// Twin returns the client's twin.
	Twin(ctx context.Context) (Twin, error)

	// Report merges p into the reported section and returns its new version
	// once it is durable. Codes: DeserializationError (not a JSON object),
	// ArgumentInvalid (keys, depth, values, size), PreconditionFailed.
	Report(ctx context.Context, p Patch) (version int64, err error)

	// Listen replaces the set of lanes the client receives. When it returns,
	// later changes reach the client; queued commands follow at once. It is
	// also how a client that had no credit ([ErrNoCredit]) says that it has.
	Listen(ctx context.Context, lanes Lane) error

	// Drain returns when every command that can be delivered now was given to
	// Device.Deliver.
	Drain(ctx context.Context) error

	// Settle ends a delivery. Code DeviceMessageLockLost when the lock is
	// gone: the message was purged, expired, settled, or redelivered.
	Settle(ctx context.Context, lock LockToken, o Outcome) error

	// Renew replaces the proof of the session by one for the same identity
	// and so moves its expiry.
	Renew(ctx context.Context, cred Credential) error

	// Close ends the session: locks are released, presence is withdrawn. The
	// reason is for the log; nil is an orderly end. It is idempotent.
	Close(reason error) error
}

// Device is what the hub may ask of a connected client. Methods are called
// from any goroutine, several at once.
type Device interface {
	// Deliver hands over a command or module input and returns when it was
	// written to the client, not when the client settled it. The message is
	// borrowed until Deliver returns.
	//
	// An error that wraps [ErrNoCredit] means that the client does not take a
	// command now. The command stays queued as if it had not been tried; it
	// comes again after the next Listen or Settle of the session.
	Deliver(ctx context.Context, m Message) error

	// Desired hands over a change of the desired section. Changes of one
	// device are handed over in the order of their versions.
	Desired(ctx context.Context, p Patch) error

	// Invoke calls a direct method and waits for its answer. Code
	// DeviceConnectionClosedRemotely when the connection ends first; ctx
	// errors pass through.
	Invoke(ctx context.Context, c Call) (Result, error)

	// Hangup closes the connection: the session was taken over, expired, or
	// its identity was changed. It must not block and may be called twice.
	Hangup(reason error)
}
