// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <kombu/deadline.hpp>
#include <kombu/pool/factory.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

namespace kombu::detail {

/// The factory of a pool as PoolEngine sees it: functions on resources of unknown type. None is called with the pool's
/// lock held.
class KOMBU_EXPORT ResourceHooks {
public:
    ResourceHooks(const ResourceHooks&) = delete;
    ResourceHooks& operator=(const ResourceHooks&) = delete;
    virtual ~ResourceHooks() = default;

    /// Which of the functions do something.
    struct Has {
        bool validate = false, prepare = false, async_prepare = false, try_prepare = false, recycle = false;
    };
    const Has has;
    const char* const resource_name;

    virtual std::shared_ptr<void> create(const Acquisition& acquisition) const = 0;
    virtual bool prepare(void* resource, const Acquisition& acquisition) const = 0;
    /// Prepares a used resource when that needs no wait. False: prepare() is called.
    /// `now`: of the coarse clock.
    virtual bool try_prepare(void*, const std::source_location&, std::int64_t) const noexcept { return false; }
    /// False also when the factory's function throws, here and below.
    virtual bool validate(void* resource) const noexcept = 0;
    virtual bool keep_alive(void* resource, Deadline deadline) const noexcept = 0;
    virtual bool recycle(void* resource, bool unwinding) const noexcept = 0;
    virtual void close(void* resource) const noexcept = 0;
    virtual void interrupt(void* resource) const noexcept = 0;
    /// Empty also when the factory's function throws.
    virtual std::string last_error() const noexcept = 0;
    /// The exception for a caller that gets no resource.
    virtual std::exception_ptr limit_error(LimitReport report) const = 0;

protected:
    ResourceHooks(const Has& functions, const char* name) noexcept : has(functions), resource_name(name) {}
};

/// The only part of a pool that knows the type of its resources, beside Lease. The library's own pools derive from it,
/// and override what each acquire and release calls.
template <class T>
class FactoryHooks : public ResourceHooks {
public:
    /// \throws ConfigurationError  when the factory has no `create`
    /// `overridden`: by the derived class, whatever the factory has.
    explicit FactoryHooks(ResourceFactory<T> factory, const Has& overridden = {})
        : ResourceHooks({.validate = overridden.validate || factory.validate,
                         .prepare = static_cast<bool>(factory.prepare),
                         .async_prepare = static_cast<bool>(factory.async_prepare),
                         .try_prepare = overridden.try_prepare,
                         .recycle = overridden.recycle || factory.recycle},
                        factory.resource_name),
          factory_(std::move(factory)) {
        if (!factory_.create) throw ConfigurationError("ResourceFactory::create is not set");
    }

    const ResourceFactory<T>& factory() const noexcept { return factory_; }

    std::shared_ptr<void> create(const Acquisition& acquisition) const override { return factory_.create(acquisition); }
    bool prepare(void* resource, const Acquisition& acquisition) const override {
        return !factory_.prepare || factory_.prepare(typed(resource), acquisition);
    }
    bool validate(void* resource) const noexcept override try {
        return !factory_.validate || factory_.validate(typed(resource));
    } catch (...) {
        return false;
    }
    bool keep_alive(void* resource, Deadline deadline) const noexcept override try {
        return factory_.keepalive ? factory_.keepalive(typed(resource), deadline) : validate(resource);
    } catch (...) {
        return false;
    }
    bool recycle(void* resource, bool unwinding) const noexcept override try {
        return factory_.recycle ? factory_.recycle(typed(resource), unwinding) : !unwinding;
    } catch (...) {
        return false;
    }
    void close(void* resource) const noexcept override try {
        if (factory_.close) factory_.close(typed(resource));
    } catch (...) {
    }
    void interrupt(void* resource) const noexcept override try {
        if (factory_.interrupt) factory_.interrupt(typed(resource));
    } catch (...) {
    }
    std::string last_error() const noexcept override try {
        return factory_.last_error ? factory_.last_error() : std::string{};
    } catch (...) {
        return {};
    }
    std::exception_ptr limit_error(LimitReport report) const override {
        if (factory_.limit_error)
            if (std::exception_ptr error = factory_.limit_error(report)) return error;
        return std::make_exception_ptr(LimitExceeded(std::move(report)));
    }

protected:
    static T& typed(void* resource) noexcept { return *static_cast<T*>(resource); }

private:
    const ResourceFactory<T> factory_;
};

}  // namespace kombu::detail
