package causeway

// Code identifies an error of the IoT Hub catalogue. Its first three digits are
// the HTTP status.
type Code int

// The catalogue of error codes.
const (
	GenericBadRequest                           Code = 400000
	InvalidProtocolVersion                      Code = 400001
	DeviceInvalidResultCount                    Code = 400002
	InvalidOperation                            Code = 400003
	ArgumentInvalid                             Code = 400004
	ArgumentNull                                Code = 400005
	IotHubFormatError                           Code = 400006
	DeviceStorageEntitySerializationError       Code = 400007
	BlobContainerValidationError                Code = 400008
	ImportWarningExistsError                    Code = 400009
	InvalidSchemaVersion                        Code = 400010
	DeviceDefinedMultipleTimes                  Code = 400011
	DeserializationError                        Code = 400012
	BulkRegistryOperationFailure                Code = 400013
	DefaultStorageEndpointNotConfigured         Code = 400014
	InvalidFileUploadCorrelationId              Code = 400015
	ExpiredFileUploadCorrelationId              Code = 400016
	InvalidStorageEndpoint                      Code = 400017
	InvalidMessagingEndpoint                    Code = 400018
	InvalidFileUploadCompletionStatus           Code = 400019
	InvalidStorageEndpointOrBlob                Code = 400020
	RequestCanceled                             Code = 400021
	InvalidStorageEndpointProperty              Code = 400022
	EtagDoesNotMatch                            Code = 400023
	RequestTimedOut                             Code = 400024
	UnsupportedOperationOnReplica               Code = 400025
	NullMessage                                 Code = 400026
	ConnectionForcefullyClosedOnNewConnection   Code = 400027
	InvalidDeviceScope                          Code = 400028
	InvalidEndpointAuthenticationType           Code = 400031
	ManagedIdentityNotEnabled                   Code = 400032
	InvalidPolicyKey                            Code = 400035
	BulkRegenerateDeviceKeyOperationFailure     Code = 400036
	InvalidRouteTestInput                       Code = 400100
	InvalidSourceOnRoute                        Code = 400101
	RoutingNotEnabled                           Code = 400102
	InvalidContentEncodingOrType                Code = 400103
	CannotRegisterModuleToModule                Code = 400301
	TenantHubRoutingNotEnabled                  Code = 400302
	InvalidConfigurationTargetCondition         Code = 400401
	InvalidConfigurationContent                 Code = 400402
	CannotModifyImmutableConfigurationContent   Code = 400403
	InvalidConfigurationCustomMetricsQuery      Code = 400404
	InvalidDigitalTwinJsonPatch                 Code = 400505
	InvalidDigitalTwinPayload                   Code = 400506
	InvalidDigitalTwinPatch                     Code = 400507
	InvalidDigitalTwinPatchPath                 Code = 400508
	GenericUnauthorized                         Code = 401000
	IotHubNotFound                              Code = 401001
	IotHubUnauthorizedAccess                    Code = 401002
	IotHubUnauthorized                          Code = 401003
	ElasticPoolNotFound                         Code = 401004
	SystemModuleModifyUnauthorizedAccess        Code = 401100
	GenericForbidden                            Code = 403000
	IotHubSuspended                             Code = 403001
	IotHubQuotaExceeded                         Code = 403002
	JobQuotaExceeded                            Code = 403003
	DeviceMaximumQueueDepthExceeded             Code = 403004
	IotHubMaxCbsTokenExceeded                   Code = 403005
	DeviceMaximumActiveFileUploadLimitExceeded  Code = 403006
	DeviceMaximumQueueSizeExceeded              Code = 403007
	RoutingEndpointResponseForbidden            Code = 403008
	InvalidMessageExpiryTime                    Code = 403009
	OperationNotAvailableInCurrentTier          Code = 403010
	KeyEncryptionKeyRevoked                     Code = 403011
	DeviceDisabled                              Code = 403012
	DeviceMaximumInflightMethodExceeded         Code = 403800
	GenericNotFound                             Code = 404000
	DeviceNotFound                              Code = 404001
	JobNotFound                                 Code = 404002
	QuotaMetricNotFound                         Code = 404004
	SystemPropertyNotFound                      Code = 404005
	AmqpAddressNotFound                         Code = 404006
	RoutingEndpointResponseNotFound             Code = 404007
	CertificateNotFound                         Code = 404008
	ElasticPoolTenantHubNotFound                Code = 404009
	ModuleNotFound                              Code = 404010
	AzureTableStoreNotFound                     Code = 404011
	IotHubFailingOver                           Code = 404012
	FeatureNotSupported                         Code = 404013
	DigitalTwinInterfaceNotFound                Code = 404014
	QueryStoreClusterNotFound                   Code = 404101
	DeviceNotOnline                             Code = 404103
	DeviceConnectionClosedRemotely              Code = 404104
	ConfigurationNotFound                       Code = 404301
	GroupNotFound                               Code = 404302
	DigitalTwinModelNotFound                    Code = 404401
	InterfaceNameModelNotFound                  Code = 404402
	GenericMethodNotAllowed                     Code = 405000
	OperationNotAllowedInCurrentState           Code = 405102
	ImportDevicesNotSupported                   Code = 405103
	BulkAddDevicesNotSupported                  Code = 405104
	GenericConflict                             Code = 409000
	DeviceAlreadyExists                         Code = 409001
	LinkCreationConflict                        Code = 409002
	CallbackSubscriptionConflict                Code = 409003
	ModelAlreadyExists                          Code = 409101
	DeviceLocked                                Code = 409102
	DeviceJobAlreadyExists                      Code = 409103
	JobAlreadyExists                            Code = 409104
	ModuleAlreadyExistsOnDevice                 Code = 409301
	ConfigurationAlreadyExists                  Code = 409401
	ApplyConfigurationAlreadyInProgressOnDevice Code = 409402
	GenericPreconditionFailed                   Code = 412000
	PreconditionFailed                          Code = 412001
	DeviceMessageLockLost                       Code = 412002
	JobRunPreconditionFailed                    Code = 412003
	InflightMessagesInLink                      Code = 412004
	GenericRequestEntityTooLarge                Code = 413000
	MessageTooLarge                             Code = 413001
	TooManyDevices                              Code = 413002
	TooManyModulesOnDevice                      Code = 413003
	ConfigurationCountLimitExceeded             Code = 413101
	GenericUnsupportedMediaType                 Code = 415000
	IncompatibleDataType                        Code = 415101
	GenericTooManyRequests                      Code = 429000
	ThrottlingException                         Code = 429001
	ThrottleBacklogLimitExceeded                Code = 429002
	ThrottlingBacklogTimeout                    Code = 429003
	ThrottlingMaxActiveJobCountExceeded         Code = 429004
	DeviceThrottlingLimitExceeded               Code = 429005
	ClientClosedRequest                         Code = 499000
	GenericServerError                          Code = 500000
	ServerError                                 Code = 500001
	JobCancelled                                Code = 500002
	GenericTimeout                              Code = 500008
	InvalidThrottleParameter                    Code = 500009
	GenericBadGateway                           Code = 502000
	GenericServiceUnavailable                   Code = 503000
	ServiceUnavailable                          Code = 503001
	PartitionNotFound                           Code = 503003
	IotHubActivationFailed                      Code = 503004
	ServerBusy                                  Code = 503005
	IotHubRestoring                             Code = 503006
	ReceiveLinkOpensThrottled                   Code = 503008
	ConnectionUnavailable                       Code = 503101
	DeviceUnavailable                           Code = 503102
	GenericGatewayTimeout                       Code = 504000
	GatewayTimeout                              Code = 504101
)

var codeNames = map[Code]string{
	GenericBadRequest:                           "GenericBadRequest",
	InvalidProtocolVersion:                      "InvalidProtocolVersion",
	DeviceInvalidResultCount:                    "DeviceInvalidResultCount",
	InvalidOperation:                            "InvalidOperation",
	ArgumentInvalid:                             "ArgumentInvalid",
	ArgumentNull:                                "ArgumentNull",
	IotHubFormatError:                           "IotHubFormatError",
	DeviceStorageEntitySerializationError:       "DeviceStorageEntitySerializationError",
	BlobContainerValidationError:                "BlobContainerValidationError",
	ImportWarningExistsError:                    "ImportWarningExistsError",
	InvalidSchemaVersion:                        "InvalidSchemaVersion",
	DeviceDefinedMultipleTimes:                  "DeviceDefinedMultipleTimes",
	DeserializationError:                        "DeserializationError",
	BulkRegistryOperationFailure:                "BulkRegistryOperationFailure",
	DefaultStorageEndpointNotConfigured:         "DefaultStorageEndpointNotConfigured",
	InvalidFileUploadCorrelationId:              "InvalidFileUploadCorrelationId",
	ExpiredFileUploadCorrelationId:              "ExpiredFileUploadCorrelationId",
	InvalidStorageEndpoint:                      "InvalidStorageEndpoint",
	InvalidMessagingEndpoint:                    "InvalidMessagingEndpoint",
	InvalidFileUploadCompletionStatus:           "InvalidFileUploadCompletionStatus",
	InvalidStorageEndpointOrBlob:                "InvalidStorageEndpointOrBlob",
	RequestCanceled:                             "RequestCanceled",
	InvalidStorageEndpointProperty:              "InvalidStorageEndpointProperty",
	EtagDoesNotMatch:                            "EtagDoesNotMatch",
	RequestTimedOut:                             "RequestTimedOut",
	UnsupportedOperationOnReplica:               "UnsupportedOperationOnReplica",
	NullMessage:                                 "NullMessage",
	ConnectionForcefullyClosedOnNewConnection:   "ConnectionForcefullyClosedOnNewConnection",
	InvalidDeviceScope:                          "InvalidDeviceScope",
	InvalidEndpointAuthenticationType:           "InvalidEndpointAuthenticationType",
	ManagedIdentityNotEnabled:                   "ManagedIdentityNotEnabled",
	InvalidPolicyKey:                            "InvalidPolicyKey",
	BulkRegenerateDeviceKeyOperationFailure:     "BulkRegenerateDeviceKeyOperationFailure",
	InvalidRouteTestInput:                       "InvalidRouteTestInput",
	InvalidSourceOnRoute:                        "InvalidSourceOnRoute",
	RoutingNotEnabled:                           "RoutingNotEnabled",
	InvalidContentEncodingOrType:                "InvalidContentEncodingOrType",
	CannotRegisterModuleToModule:                "CannotRegisterModuleToModule",
	TenantHubRoutingNotEnabled:                  "TenantHubRoutingNotEnabled",
	InvalidConfigurationTargetCondition:         "InvalidConfigurationTargetCondition",
	InvalidConfigurationContent:                 "InvalidConfigurationContent",
	CannotModifyImmutableConfigurationContent:   "CannotModifyImmutableConfigurationContent",
	InvalidConfigurationCustomMetricsQuery:      "InvalidConfigurationCustomMetricsQuery",
	InvalidDigitalTwinJsonPatch:                 "InvalidDigitalTwinJsonPatch",
	InvalidDigitalTwinPayload:                   "InvalidDigitalTwinPayload",
	InvalidDigitalTwinPatch:                     "InvalidDigitalTwinPatch",
	InvalidDigitalTwinPatchPath:                 "InvalidDigitalTwinPatchPath",
	GenericUnauthorized:                         "GenericUnauthorized",
	IotHubNotFound:                              "IotHubNotFound",
	IotHubUnauthorizedAccess:                    "IotHubUnauthorizedAccess",
	IotHubUnauthorized:                          "IotHubUnauthorized",
	ElasticPoolNotFound:                         "ElasticPoolNotFound",
	SystemModuleModifyUnauthorizedAccess:        "SystemModuleModifyUnauthorizedAccess",
	GenericForbidden:                            "GenericForbidden",
	IotHubSuspended:                             "IotHubSuspended",
	IotHubQuotaExceeded:                         "IotHubQuotaExceeded",
	JobQuotaExceeded:                            "JobQuotaExceeded",
	DeviceMaximumQueueDepthExceeded:             "DeviceMaximumQueueDepthExceeded",
	IotHubMaxCbsTokenExceeded:                   "IotHubMaxCbsTokenExceeded",
	DeviceMaximumActiveFileUploadLimitExceeded:  "DeviceMaximumActiveFileUploadLimitExceeded",
	DeviceMaximumQueueSizeExceeded:              "DeviceMaximumQueueSizeExceeded",
	RoutingEndpointResponseForbidden:            "RoutingEndpointResponseForbidden",
	InvalidMessageExpiryTime:                    "InvalidMessageExpiryTime",
	OperationNotAvailableInCurrentTier:          "OperationNotAvailableInCurrentTier",
	KeyEncryptionKeyRevoked:                     "KeyEncryptionKeyRevoked",
	DeviceDisabled:                              "DeviceDisabled",
	DeviceMaximumInflightMethodExceeded:         "DeviceMaximumInflightMethodExceeded",
	GenericNotFound:                             "GenericNotFound",
	DeviceNotFound:                              "DeviceNotFound",
	JobNotFound:                                 "JobNotFound",
	QuotaMetricNotFound:                         "QuotaMetricNotFound",
	SystemPropertyNotFound:                      "SystemPropertyNotFound",
	AmqpAddressNotFound:                         "AmqpAddressNotFound",
	RoutingEndpointResponseNotFound:             "RoutingEndpointResponseNotFound",
	CertificateNotFound:                         "CertificateNotFound",
	ElasticPoolTenantHubNotFound:                "ElasticPoolTenantHubNotFound",
	ModuleNotFound:                              "ModuleNotFound",
	AzureTableStoreNotFound:                     "AzureTableStoreNotFound",
	IotHubFailingOver:                           "IotHubFailingOver",
	FeatureNotSupported:                         "FeatureNotSupported",
	DigitalTwinInterfaceNotFound:                "DigitalTwinInterfaceNotFound",
	QueryStoreClusterNotFound:                   "QueryStoreClusterNotFound",
	DeviceNotOnline:                             "DeviceNotOnline",
	DeviceConnectionClosedRemotely:              "DeviceConnectionClosedRemotely",
	ConfigurationNotFound:                       "ConfigurationNotFound",
	GroupNotFound:                               "GroupNotFound",
	DigitalTwinModelNotFound:                    "DigitalTwinModelNotFound",
	InterfaceNameModelNotFound:                  "InterfaceNameModelNotFound",
	GenericMethodNotAllowed:                     "GenericMethodNotAllowed",
	OperationNotAllowedInCurrentState:           "OperationNotAllowedInCurrentState",
	ImportDevicesNotSupported:                   "ImportDevicesNotSupported",
	BulkAddDevicesNotSupported:                  "BulkAddDevicesNotSupported",
	GenericConflict:                             "GenericConflict",
	DeviceAlreadyExists:                         "DeviceAlreadyExists",
	LinkCreationConflict:                        "LinkCreationConflict",
	CallbackSubscriptionConflict:                "CallbackSubscriptionConflict",
	ModelAlreadyExists:                          "ModelAlreadyExists",
	DeviceLocked:                                "DeviceLocked",
	DeviceJobAlreadyExists:                      "DeviceJobAlreadyExists",
	JobAlreadyExists:                            "JobAlreadyExists",
	ModuleAlreadyExistsOnDevice:                 "ModuleAlreadyExistsOnDevice",
	ConfigurationAlreadyExists:                  "ConfigurationAlreadyExists",
	ApplyConfigurationAlreadyInProgressOnDevice: "ApplyConfigurationAlreadyInProgressOnDevice",
	GenericPreconditionFailed:                   "GenericPreconditionFailed",
	PreconditionFailed:                          "PreconditionFailed",
	DeviceMessageLockLost:                       "DeviceMessageLockLost",
	JobRunPreconditionFailed:                    "JobRunPreconditionFailed",
	InflightMessagesInLink:                      "InflightMessagesInLink",
	GenericRequestEntityTooLarge:                "GenericRequestEntityTooLarge",
	MessageTooLarge:                             "MessageTooLarge",
	TooManyDevices:                              "TooManyDevices",
	TooManyModulesOnDevice:                      "TooManyModulesOnDevice",
	ConfigurationCountLimitExceeded:             "ConfigurationCountLimitExceeded",
	GenericUnsupportedMediaType:                 "GenericUnsupportedMediaType",
	IncompatibleDataType:                        "IncompatibleDataType",
	GenericTooManyRequests:                      "GenericTooManyRequests",
	ThrottlingException:                         "ThrottlingException",
	ThrottleBacklogLimitExceeded:                "ThrottleBacklogLimitExceeded",
	ThrottlingBacklogTimeout:                    "ThrottlingBacklogTimeout",
	ThrottlingMaxActiveJobCountExceeded:         "ThrottlingMaxActiveJobCountExceeded",
	DeviceThrottlingLimitExceeded:               "DeviceThrottlingLimitExceeded",
	ClientClosedRequest:                         "ClientClosedRequest",
	GenericServerError:                          "GenericServerError",
	ServerError:                                 "ServerError",
	JobCancelled:                                "JobCancelled",
	GenericTimeout:                              "GenericTimeout",
	InvalidThrottleParameter:                    "InvalidThrottleParameter",
	GenericBadGateway:                           "GenericBadGateway",
	GenericServiceUnavailable:                   "GenericServiceUnavailable",
	ServiceUnavailable:                          "ServiceUnavailable",
	PartitionNotFound:                           "PartitionNotFound",
	IotHubActivationFailed:                      "IotHubActivationFailed",
	ServerBusy:                                  "ServerBusy",
	IotHubRestoring:                             "IotHubRestoring",
	ReceiveLinkOpensThrottled:                   "ReceiveLinkOpensThrottled",
	ConnectionUnavailable:                       "ConnectionUnavailable",
	DeviceUnavailable:                           "DeviceUnavailable",
	GenericGatewayTimeout:                       "GenericGatewayTimeout",
	GatewayTimeout:                              "GatewayTimeout",
}
