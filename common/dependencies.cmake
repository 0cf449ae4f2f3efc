# The libraries that the servers are built on, as imported targets:
#   twinhttpd::event   libevent 2.1, core only
#   twinhttpd::cyaml   libcyaml, with libyaml below it
#   twinhttpd::zlib    zlib, for compression on the fly
#   twinhttpd::seccomp libseccomp, for the system calls that serving processes may make
#   twinhttpd::backtrace  libbacktrace, which comes with gcc; without it crash stories have no names
#   twinhttpd::jansson jansson, for what the control socket is asked
#   twinhttpd::llhttp  llhttp 9 as a library (Debian 13 and later: libllhttp-dev), or else
#                      compiled from the sources in Debian 12's node-llhttp

find_package(PkgConfig REQUIRED)

pkg_check_modules(LIBEVENT IMPORTED_TARGET libevent_core>=2.1)
if(NOT LIBEVENT_FOUND)
    message(FATAL_ERROR "libevent 2.1 was not found. Install it: apt-get install libevent-dev")
endif()
add_library(twinhttpd::event ALIAS PkgConfig::LIBEVENT)

pkg_check_modules(CYAML IMPORTED_TARGET libcyaml>=1.3)
pkg_check_modules(YAML IMPORTED_TARGET yaml-0.1)
if(NOT CYAML_FOUND OR NOT YAML_FOUND)
    message(FATAL_ERROR "libcyaml was not found. Install it: apt-get install libcyaml-dev")
endif()
add_library(twin_cyaml INTERFACE)
target_link_libraries(twin_cyaml INTERFACE PkgConfig::CYAML PkgConfig::YAML)
add_library(twinhttpd::cyaml ALIAS twin_cyaml)

pkg_check_modules(ZLIB IMPORTED_TARGET zlib)
if(NOT ZLIB_FOUND)
    message(FATAL_ERROR "zlib was not found. Install it: apt-get install zlib1g-dev")
endif()
add_library(twinhttpd::zlib ALIAS PkgConfig::ZLIB)

pkg_check_modules(SECCOMP IMPORTED_TARGET libseccomp>=2.5)
if(NOT SECCOMP_FOUND)
    message(FATAL_ERROR "libseccomp was not found. Install it: apt-get install libseccomp-dev")
endif()
add_library(twinhttpd::seccomp ALIAS PkgConfig::SECCOMP)
include(CheckIncludeFile)
check_include_file(backtrace.h TWINHTTPD_HAS_BACKTRACE)
add_library(twin_backtrace INTERFACE)
if(TWINHTTPD_HAS_BACKTRACE)
    target_link_libraries(twin_backtrace INTERFACE backtrace)
    target_compile_definitions(twin_backtrace INTERFACE TWINHTTPD_BACKTRACE=1)
else()
    message(STATUS "libbacktrace was not found (gcc brings it): crash stories will have no names")
    target_compile_definitions(twin_backtrace INTERFACE TWINHTTPD_BACKTRACE=0)
endif()
add_library(twinhttpd::backtrace ALIAS twin_backtrace)
pkg_check_modules(JANSSON IMPORTED_TARGET jansson>=2.13)
if(NOT JANSSON_FOUND)
    message(FATAL_ERROR "jansson was not found. Install it: apt-get install libjansson-dev")
endif()
add_library(twinhttpd::jansson ALIAS PkgConfig::JANSSON)

option(TWINHTTPD_LLHTTP_FROM_SOURCES "Compile llhttp even where pkg-config knows libllhttp" OFF)
set(TWINHTTPD_LLHTTP_SOURCES "/usr/share/llhttp" CACHE PATH
    "llhttp's C sources, used when pkg-config does not know libllhttp")
set(TWINHTTPD_LLHTTP_HEADERS "/usr/share/include/llhttp" CACHE PATH "llhttp.h for these sources")

if(NOT TWINHTTPD_LLHTTP_FROM_SOURCES)
    pkg_check_modules(LLHTTP IMPORTED_TARGET libllhttp)
endif()
if(LLHTTP_FOUND)
    add_library(twinhttpd::llhttp ALIAS PkgConfig::LLHTTP)
    set(llhttp_version ${LLHTTP_VERSION})
    message(STATUS "llhttp ${llhttp_version} as a library")
elseif(EXISTS ${TWINHTTPD_LLHTTP_SOURCES}/llhttp.c AND EXISTS ${TWINHTTPD_LLHTTP_HEADERS}/llhttp.h)
    add_library(llhttp STATIC
        ${TWINHTTPD_LLHTTP_SOURCES}/api.c
        ${TWINHTTPD_LLHTTP_SOURCES}/http.c
        ${TWINHTTPD_LLHTTP_SOURCES}/llhttp.c)
    target_include_directories(llhttp SYSTEM PUBLIC ${TWINHTTPD_LLHTTP_HEADERS})
    # Strict: else version 8 takes any two bytes for the CRLF behind a chunk.
    target_compile_definitions(llhttp PUBLIC LLHTTP_STRICT_MODE=1)
    target_compile_options(llhttp PRIVATE -w -O2)
    add_library(twinhttpd::llhttp ALIAS llhttp)
    file(STRINGS ${TWINHTTPD_LLHTTP_HEADERS}/llhttp.h llhttp_version
        REGEX "^#define LLHTTP_VERSION_(MAJOR|MINOR|PATCH) ")
    list(TRANSFORM llhttp_version REPLACE ".* " "")
    list(JOIN llhttp_version "." llhttp_version)
    message(STATUS "llhttp ${llhttp_version} from the sources in ${TWINHTTPD_LLHTTP_SOURCES}")
else()
    message(FATAL_ERROR
        "llhttp was not found. Install it:\n"
        "  Debian 13 and later:  apt-get install libllhttp-dev\n"
        "  Debian 12:            apt-get install node-llhttp")
endif()

# For tests/steps/differential, which must know what it compares.
set(TWINHTTPD_LLHTTP_VERSION "${llhttp_version}" CACHE INTERNAL "llhttp's version in this build")
