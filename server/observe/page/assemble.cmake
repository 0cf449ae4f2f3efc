# Puts the page together from its sources, in one file without a reference to another, and as C arrays:
#   cmake -D INTO=FOLDER -P server/observe/page/assemble.cmake
# FOLDER/page.html is the page, FOLDER/page_bytes.c the same for page.c. The hashes in its policy allow exactly
# this style and this script.
cmake_minimum_required(VERSION 3.25)

set(page_limit_bytes 130000)
set(scripts text history server stream recording charts incidents figures tree totals orders main)
# Names that stand there often, and in no text and no other name: they get short ones.
set(often HISTORY_TICKS HISTORY_MS HISTORY_FIELDS TRACE_SECONDS CHART_STEPS chartWidth NOTHING incidentKey incidentCause incidentCost incidentTitle
    isKnown makeButton makeLine putAttribute storyFacts storyStack textAge textClock textCount textMany textMicros textMillis
    textRate textShare textWholeMillis is_playing)
set(folder ${CMAKE_CURRENT_LIST_DIR})

# Without what only readers of the sources need: indentation, comments, empty lines.
function(read_source name result)
    file(READ ${folder}/${name} text)
    string(REGEX REPLACE "\n[ ]+" "\n" text "\n${text}")
    string(REGEX REPLACE "[\n ]//[^\n]*" "" text "${text}")
    string(REGEX REPLACE "\n+" "\n" text "${text}")
    set(${result} "${text}" PARENT_SCOPE)
endfunction()

# Blanks go that are in no text: a test compares all texts with those of the sources. A line ends a statement or goes on
# in the next one, and what ends with a brace is a block (an expression has a semicolon behind it).
function(shorten_script script result)
    foreach(operator => = === !== ?? && || >= <= += ? : - * < >)
        string(REPLACE " ${operator} " "${operator}" script "${script}")
    endforeach()
    string(REGEX REPLACE "(if|for|while|switch) [(]" "\\1(" script "${script}")
    string(REGEX REPLACE "([{,] ?[a-z_]+): " "\\1:" script "${script}")
    string(REGEX REPLACE "([a-zA-Z0-9_%]\"), " "\\1," script "${script}") # a quote behind a letter ends a text
    string(REGEX REPLACE "([])]), " "\\1," script "${script}")
    string(REGEX REPLACE "([)]|else) [{]" "\\1{" script "${script}")
    string(REGEX REPLACE "} (else)" "}\\1" script "${script}")
    string(REGEX REPLACE "([{},;])\n" "\\1" script "${script}")
    set(number 0)
    foreach(name ${often})
        string(REPLACE "${name}" "$${number}" script "${script}")
        math(EXPR number "${number} + 1")
    endforeach()
    set(${result} "${script}" PARENT_SCOPE)
endfunction()

function(shorten_style style result)
    string(REGEX REPLACE " ?([{};,]) *" "\\1" style "${style}")
    string(REPLACE ": " ":" style "${style}")
    string(REGEX REPLACE "([{},;])\n" "\\1" style "${style}")
    string(REPLACE ";}" "}" style "${style}")
    set(${result} "${style}" PARENT_SCOPE)
endfunction()

# The base64 of a text's SHA-256, as a policy wants it.
function(policy_hash text result)
    string(SHA256 hexadecimal "${text}")
    set(digits "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    set(base64 "")
    foreach(at RANGE 0 60 6) # 32 bytes are ten times three and two more
        string(SUBSTRING "${hexadecimal}0000" ${at} 6 three)
        math(EXPR number "0x${three}")
        foreach(shift 18 12 6 0)
            math(EXPR digit "(${number} >> ${shift}) & 63")
            string(SUBSTRING "${digits}" ${digit} 1 digit)
            string(APPEND base64 "${digit}")
        endforeach()
    endforeach()
    string(SUBSTRING "${base64}" 0 43 base64)
    set(${result} "'sha256-${base64}='" PARENT_SCOPE)
endfunction()

# A C array of what is given in hexadecimal.
function(c_array name hexadecimal result)
    string(LENGTH "${hexadecimal}" digits)
    math(EXPR bytes "${digits} / 2")
    string(REGEX REPLACE "(..)" "0x\\1," bytes_text "${hexadecimal}")
    string(REGEX REPLACE "(................................................................................)" "\\1\n"
        bytes_text "${bytes_text}")
    set(${result} "const unsigned char ${name}[${bytes}] = {\n${bytes_text}};\nconst size_t ${name}_bytes = ${bytes};\n"
        PARENT_SCOPE)
endfunction()

foreach(name ${scripts})
    read_source(${name}.js text)
    string(APPEND own_script "${text}")
endforeach()
shorten_script("${own_script}" own_script)
file(READ ${folder}/uplot/uPlot.iife.min.js script)
string(APPEND script "${own_script}\n")
foreach(forbidden "</script" "<script" "<!--")
    string(FIND "${script}" "${forbidden}" at)
    if(NOT at EQUAL -1)
        message(FATAL_ERROR "the script of the page must not contain ${forbidden}")
    endif()
endforeach()
file(READ ${folder}/uplot/uPlot.min.css style)
read_source(page.css own_style)
shorten_style("${own_style}" own_style)
string(APPEND style "${own_style}")
file(READ ${folder}/page.html page)

policy_hash("${script}" script_hash)
policy_hash("${style}" style_hash)
string(CONCAT policy "default-src 'none'; script-src ${script_hash}; style-src ${style_hash}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'")
string(REPLACE "@CSP@" "${policy}" page "${page}")
string(REPLACE "@STYLE@" "${style}" page "${page}")
string(REPLACE "@SCRIPT@" "${script}" page "${page}")
file(WRITE ${INTO}/page.html "${page}")
file(SIZE ${INTO}/page.html bytes)
if(bytes GREATER page_limit_bytes)
    message(FATAL_ERROR "the page has ${bytes} bytes; at most ${page_limit_bytes} are allowed")
endif()

# What stands in front of the table that the server makes, and what stands behind it. The second is compressed here, as
# one run of deflate without the gzip header and trailer (page.c writes its own).
string(FIND "${page}" "<!--table-->" at)
string(SUBSTRING "${page}" 0 ${at} before)
math(EXPR at "${at} + 12")
string(SUBSTRING "${page}" ${at} -1 behind)
file(WRITE ${INTO}/page_before "${before}")
file(WRITE ${INTO}/page_behind "${behind}")
file(ARCHIVE_CREATE OUTPUT ${INTO}/page_behind.gz PATHS ${INTO}/page_behind FORMAT raw COMPRESSION GZip)
file(READ ${INTO}/page_before before_hex HEX)
file(READ ${INTO}/page_behind behind_hex HEX)
file(READ ${INTO}/page_behind.gz gzip_hex HEX)
string(SUBSTRING "${gzip_hex}" 0 8 gzip_head)
if(NOT gzip_head STREQUAL "1f8b0800") # deflate, and nothing that would make the header longer than 10 bytes
    message(FATAL_ERROR "cannot take apart what CMake has compressed (${gzip_head})")
endif()
string(LENGTH "${gzip_hex}" digits)
math(EXPR digits "${digits} - 20 - 16")
string(SUBSTRING "${gzip_hex}" 20 ${digits} deflated_hex)

c_array(page_before "${before_hex}" before_array)
c_array(page_behind "${behind_hex}" behind_array)
c_array(page_behind_deflated "${deflated_hex}" deflated_array)
file(WRITE ${INTO}/page_bytes.c "/* Made by server/observe/page/assemble.cmake. */
#include \"server/observe/page/page_bytes.h\"

${before_array}
${behind_array}
${deflated_array}
const char page_policy[] = \"${policy}; frame-ancestors 'none'\";
")
